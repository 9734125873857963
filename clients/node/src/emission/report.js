/**
 * A report of a breaker: names that the server accepts, and a state in its spelling.
 * @typedef {import("../../index.js").State} State
 * @typedef {import("../../index.js").DropReason} DropReason
 */

/**
 * The state of a breaker, as of a moment.
 * @typedef {object} Report
 * @property {string} key of the breaker and its instance; the server has at most one claim for each
 * @property {string} tenant
 * @property {string} breaker
 * @property {string} instance
 * @property {State} state in the server's spelling
 * @property {string | null} cause for people
 * @property {number} at seconds of the local monotonic clock
 */

import { checkTenant, shown } from "../protocol/names.js";

/**
 * The states that put a tenant to sleep. Its policy decides how deep.
 * @type {ReadonlySet<State>}
 */
export const SLEEPING = new Set(/** @type {const} */ (["open", "half_open", "forced_open"]));
const MOST_NAME = 200;
const MOST_TEXT = 256;

/** @type {ReadonlyMap<string, State>} */
const STATES = new Map([
  ["closed", "closed"],
  ["open", "open"],
  ["halfopen", "half_open"],
  ["forcedopen", "forced_open"],
  ["disabled", "disabled"],
  ["metricsonly", "metrics_only"],
]);
// Control characters, and lone surrogates, which no UTF-8 can hold. With `u` a pair counts as one character.
/* eslint-disable no-control-regex */
const BREAKER = /^[^@\u0000-\u001f\u007f-\u009f\ud800-\udfff]{1,200}$/u;
const INSTANCE = /^[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]{0,200}$/u;
const IN_TEXT = /[\u0000-\u001f\u007f-\u009f\ud800-\udfff]+/gu;
/* eslint-enable no-control-regex */

/**
 * Return a report whose fields the server accepts.
 *
 * A cause is cut and cleaned, never refused: it often is the text of an error.
 * @param {unknown} tenant
 * @param {unknown} breaker
 * @param {unknown} state
 * @param {unknown} instance
 * @param {unknown} cause
 * @param {number} at
 * @returns {Report}
 * @throws {TypeError} if a name or the state is invalid; the text says which and what is allowed.
 */
export function readReport(tenant, breaker, state, instance, cause, at) {
  const name = checkTenant(tenant);
  if (typeof breaker !== "string" || !BREAKER.test(breaker)) {
    const allowed = `1 to ${MOST_NAME} characters without @ and control characters`;
    throw new TypeError(`breaker ${shown(breaker)}: use ${allowed}`);
  }
  const checked = checkInstance(instance);
  const key = keyOf(name, breaker, checked);
  return { key, tenant: name, breaker, instance: checked, state: readState(state), cause: readText(cause), at };
}

/**
 * Return the key of a breaker and its instance. No name has a line end.
 * @param {string} tenant
 * @param {string} breaker
 * @param {string} instance
 */
function keyOf(tenant, breaker, instance) {
  return `${tenant}\n${breaker}\n${instance}`;
}

/**
 * Return the name of an instance.
 * @param {unknown} instance
 * @returns {string}
 * @throws {TypeError} if the server accepts no such name.
 */
export function checkInstance(instance) {
  if (typeof instance !== "string" || !INSTANCE.test(instance)) {
    throw new TypeError(`instance ${shown(instance)}: use up to ${MOST_NAME} characters without control characters`);
  }
  return instance;
}

/**
 * Return a state; case, hyphens, underscores and spaces do not matter.
 * @param {unknown} spelling
 * @returns {State}
 * @throws {TypeError} if there is no such state.
 */
export function readState(spelling) {
  if (typeof spelling === "string") {
    const state = STATES.get(spelling) ?? STATES.get(spelling.replace(/[-_ ]/g, "").toLowerCase());
    if (state !== undefined) return state;
  }
  throw new TypeError(`state ${shown(spelling)}: use one of ${[...STATES.values()].join(", ")}`);
}

/**
 * Return text that an event may carry: at most 256 characters, without control characters; null for none.
 * @param {unknown} value
 * @returns {string | null}
 */
export function readText(value) {
  if (value === undefined || value === null) return null;
  return cut(String(value), MOST_TEXT).replace(IN_TEXT, " ") || null;
}

/**
 * Return a name of an instance that an event may carry, cut to its longest length.
 * @param {string} value
 */
export function nameOfInstance(value) {
  return cut(value.replace(IN_TEXT, " "), MOST_NAME);
}

/**
 * @param {string} text
 * @param {number} most characters; a pair of surrogates is one
 */
function cut(text, most) {
  return text.length <= most ? text : [...text.slice(0, 2 * most)].slice(0, most).join("");
}
