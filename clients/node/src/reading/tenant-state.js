/**
 * The state of a tenant, as callers get it.
 * @typedef {import("../../index.js").StateName} StateName
 * @typedef {import("../../index.js").Cause} Cause
 * @typedef {import("../../index.js").Parameters} Parameters
 * @typedef {import("../../index.js").TenantState} TenantState
 */

/** From awake to deepest. */
export const STATES = Object.freeze(/** @type {const} */ (["active", "light", "deep", "freeze"]));
const NAMES = new Set(/** @type {readonly string[]} */ (STATES));

/**
 * Tell whether a state has this name.
 * @param {unknown} name
 * @returns {name is StateName}
 */
export function isState(name) {
  return NAMES.has(/** @type {string} */ (name));
}

/**
 * Return a state that cannot be changed.
 * @param {StateName} state
 * @param {Parameters} parameters
 * @param {number | null} since
 * @param {Cause | null} cause
 * @param {number | null} endsAt
 * @param {boolean} stale
 * @returns {TenantState}
 */
export function tenantState(state, parameters, since, cause, endsAt, stale) {
  return Object.freeze({ state, parameters, since, cause, endsAt, stale });
}
