/**
 * What an answer of the server means for the batch that was sent.
 *
 * - `accepted`: all events are in the log.
 * - `later`: nothing is wrong with the batch; send it again later.
 * - `content`: at least one event is invalid.
 * - `tenant`: at least one tenant may not be reported, or not now.
 * - `token`: the token is not accepted. It may just have ended.
 * - `person`: only a person can change it: a wrong URL, a missing scope, or another server.
 * @typedef {"accepted" | "later" | "content" | "tenant" | "token" | "person"} Meaning
 */

/**
 * An answer as it concerns a batch.
 * @typedef {object} Verdict
 * @property {Meaning} meaning
 * @property {string} finding the reason, for people
 * @property {number | null} retryAfter the seconds that the server asks to wait; null if it does not say
 * @property {readonly number[]} wrong the indices of the events that the answer names as invalid
 */

import { isObject } from "../protocol/answer.js";

const INDEX = /^\[(\d{1,6})\]/;

/**
 * Return what an answer means for a batch of `sent` events; 0 is the first request, which has no events.
 * @param {import("../protocol/answer.js").Answer} answer
 * @param {number} sent
 * @returns {Verdict}
 */
export function judge(answer, sent) {
  const { document } = answer;
  const meaning = meaningOf(answer, document, sent);
  const retryAfter = answer.retryAfter ?? (answer.status === 429 ? 1 : null);
  const wrong = meaning === "content" ? wrongOf(document, sent) : [];
  return { meaning, finding: findingOf(answer, meaning), retryAfter, wrong };
}

/**
 * @param {import("../protocol/answer.js").Answer} answer
 * @param {Record<string, unknown>} document
 * @param {number} sent
 * @returns {Meaning}
 */
function meaningOf(answer, document, sent) {
  const { status } = answer;
  // A proxy's page may have any status.
  if (status === 202) return document.accepted === sent ? "accepted" : "person";
  if (status === 401) return "token";
  if (sent > 0 && (status === 403 || (status === 429 && isOfTenant(document)))) return "tenant";
  if (sent > 0 && [400, 413, 422].includes(status)) return "content";
  return answer.passes ? "later" : "person";
}

/**
 * @param {import("../protocol/answer.js").Answer} answer
 * @param {Meaning} meaning
 */
function findingOf({ status, finding }, meaning) {
  if (meaning === "token") return `${finding}; check the token`;
  if (meaning !== "person") return finding;
  if (status === 403) return `${finding}; the token needs the scope sleep:emit, or sleep:emit-any`;
  return `${finding}; check the URL, and whether a server of Somabrain Sleep answers there`;
}

/**
 * Tell whether a tenant's budget of events refused the batch, and not the caller's budget of refused requests.
 * @param {Record<string, unknown>} document
 */
function isOfTenant(document) {
  const violated = document["violated-policies"];
  return Array.isArray(violated) && violated.some((each) => String(each).startsWith("emit"));
}

/**
 * Return the indices in the names of the wrong fields, such as `[3].subject`.
 * @param {Record<string, unknown>} document
 * @param {number} sent
 * @returns {number[]}
 */
function wrongOf({ errors }, sent) {
  const fields = Array.isArray(errors) ? errors.filter(isObject).map(({ field }) => String(field)) : [];
  const found = fields.map((field) => INDEX.exec(field)).filter((match) => match !== null);
  const indices = new Set(found.map((match) => Number(match[1])).filter((index) => index < sent));
  return [...indices].sort((one, other) => one - other);
}
