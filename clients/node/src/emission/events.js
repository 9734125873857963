/** A batch of CloudEvents 1.0, as `POST /api/breakers/events` takes it. */

export const PATH = "/api/breakers/events";
export const CONTENT_TYPE = "application/cloudevents-batch+json";
/** The largest body that the server takes. */
const MOST_BYTES = 65_536;
const LIBRARY = "somabrain-sleep-client";

/**
 * What is sent about a report. A retry sends the same event.
 * @typedef {object} Event
 * @property {string} id unique within the source
 * @property {number | null} occurredAt the server's time in milliseconds; null if it is not known, and the order of
 *   arrival counts
 * @property {import("./report.js").Report} report
 */

/**
 * Return the body with as many of the events as fit, from the first on, and their number.
 *
 * One event has at most about 4 KiB, so at least one fits.
 * @param {readonly Event[]} events
 * @param {string} source
 * @returns {{body: string, count: number}}
 */
export function encode(events, source) {
  const parts = [];
  let size = 2;
  for (const event of events) {
    const part = JSON.stringify(documentOf(event, source));
    size += Buffer.byteLength(part) + 1;
    if (parts.length > 0 && size > MOST_BYTES) break;
    parts.push(part);
  }
  return { body: `[${parts.join()}]`, count: parts.length };
}

/**
 * @param {Event} event
 * @param {string} source
 */
function documentOf({ id, occurredAt, report }, source) {
  const { tenant, breaker, instance, state, cause } = report;
  const data = {
    breaker,
    instance,
    state,
    library: LIBRARY,
    ...(occurredAt === null ? {} : { occurred_at: occurredAt }),
    ...(cause === null ? {} : { cause }),
  };
  return { specversion: "1.0", id, source, type: "sleep.breaker.v1", subject: tenant, data };
}
