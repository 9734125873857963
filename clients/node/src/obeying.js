/**
 * The decision about a request, and its denial.
 * @typedef {import("../index.js").TenantState} TenantState
 * @typedef {{status: number, headers: Record<string, string>, body: string}} Denial an answer in place of that of the
 *   application
 */

import { NotReady, NotWatched } from "./reading/errors.js";
import { STATES, isState } from "./reading/tenant-state.js";
import { isTenant, shown } from "./protocol/names.js";
import { STANDARD_LOGGER, checkLogger, write } from "./runtime/log.js";

const REDUCED_CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";
/** `Retry-After` while the reader is not ready. */
const RETRY_SECONDS = 5;

/** Decides about requests. */
export class Guard {
  #reader;
  /** @type {ReadonlySet<string>} */
  #deny;
  #notReady;
  #noTenant;
  #logger;
  /** @type {Set<string>} */
  #said = new Set();

  /**
   * @param {import("../express.js").States} reader knows the states
   * @param {import("../express.js").SleepMiddlewareOptions} options
   */
  constructor(reader, { deny = [], notReady, noTenant, logger }) {
    if (typeof deny === "string" || ![...deny].every(isState)) {
      throw new TypeError(`deny: use a list of ${STATES.join(", ")}`);
    }
    for (const [name, value] of Object.entries({ notReady, noTenant })) {
      if (value !== "allow" && value !== "deny") {
        throw new TypeError(`${name}: use "allow" or "deny", not ${shown(value, 40)}`);
      }
    }
    this.#reader = reader;
    this.#deny = new Set(deny);
    this.#notReady = notReady;
    this.#noTenant = noTenant;
    this.#logger = logger === undefined ? STANDARD_LOGGER : checkLogger(logger);
  }

  /**
   * Return the state of a request's tenant, the answer that denies it, or neither: allowed without a state.
   * @param {string | null | undefined} tenant
   * @returns {{state: TenantState | null, denial: Denial | null}}
   */
  check(tenant) {
    if (tenant === null || tenant === undefined) return this.#withoutTenant("the request names no tenant");
    if (!isTenant(tenant)) return this.#withoutTenant("the request names no valid tenant");
    let state;
    try {
      state = this.#reader.state(tenant);
    } catch (error) {
      if (error instanceof NotReady || error instanceof NotWatched) return this.#unknown(error);
      throw error;
    }
    if (!this.#deny.has(state.state)) return { state, denial: null };
    const seconds = this.#reader.secondsIn(tenant, this.#deny);
    /** @type {Record<string, string>} */
    const retry = seconds === null ? {} : { "Retry-After": String(Math.max(1, Math.ceil(seconds))) };
    const detail = `Tenant ${tenant} is in state ${state.state}. Try again later.`;
    return { state, denial: problem(503, REDUCED_CAPACITY, "Temporary Reduced Capacity", detail, retry) };
  }

  /** @param {string} finding */
  #withoutTenant(finding) {
    this.#say(finding, this.#noTenant, "");
    if (this.#noTenant === "allow") return { state: null, denial: null };
    const denial = problem(400, "about:blank", "Bad Request", `It is not allowed: ${finding}.`, {});
    return { state: null, denial };
  }

  /** @param {NotReady | NotWatched} error */
  #unknown(error) {
    this.#say(error instanceof NotWatched ? "not watched" : "not ready", this.#notReady, error.message);
    if (this.#notReady === "allow") return { state: null, denial: null };
    const detail = "It is not known whether the tenant sleeps. Try again later.";
    const retry = { "Retry-After": String(RETRY_SECONDS) };
    return { state: null, denial: problem(503, "about:blank", "Service Unavailable", detail, retry) };
  }

  /**
   * Log the first of each kind: requests would otherwise fill the log.
   * @param {string} finding
   * @param {"allow" | "deny"} otherwise
   * @param {string} detail
   */
  #say(finding, otherwise, detail) {
    if (this.#said.has(finding)) return;
    this.#said.add(finding);
    const what = otherwise === "allow" ? "allowed without a state" : "denied";
    const reason = detail === "" ? finding : `${finding} (${detail})`;
    const text = `Requests are ${what}: ${reason}. This is said once.`;
    write(this.#logger, [{ level: "warn", text }], "");
  }
}

/**
 * @param {number} status
 * @param {string} type
 * @param {string} title
 * @param {string} detail
 * @param {Record<string, string>} more headers
 * @returns {Denial}
 */
function problem(status, type, title, detail, more) {
  const body = JSON.stringify({ type, title, status, detail });
  const headers = {
    "Content-Type": "application/problem+json",
    "Content-Length": String(Buffer.byteLength(body)),
    "Cache-Control": "no-store",
    ...more,
  };
  return { status, headers, body };
}
