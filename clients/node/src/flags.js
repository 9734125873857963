/**
 * The flags of OpenFeature, from the state of a tenant.
 * @typedef {import("../index.js").TenantState} TenantState
 * @typedef {object} Flag the value of a flag for a tenant
 * @property {string | number} value a text for `sleep.state`, else a number
 * @property {string} variant the state of the tenant
 * @property {"TARGETING_MATCH" | "STALE"} reason `STALE` if the value is not from an open stream
 * @property {Record<string, string | number | boolean>} flagMetadata `state` and `stale`; `ends_at` if the tenant's
 *   forecast has a next state
 */

const STATE = "sleep.state";
/** @type {ReadonlyMap<string, keyof TenantState["parameters"]>} */
const PARAMETERS = new Map([
  ["sleep.K", "K"],
  ["sleep.t", "t"],
  ["sleep.tau", "tau"],
  ["sleep.eta", "eta"],
  ["sleep.lambda", "lambda"],
  ["sleep.B", "B"],
]);
/** All flags. */
export const KEYS = Object.freeze([STATE, ...PARAMETERS.keys()]);

/**
 * Return a flag for a tenant in this state; null if there is no such flag, or its parameter is not known.
 * @param {string} key
 * @param {TenantState} state
 * @returns {Flag | null}
 */
export function flagOf(key, state) {
  const name = PARAMETERS.get(key);
  const value = name === undefined ? (key === STATE ? state.state : undefined) : state.parameters[name];
  if (value === undefined) return null;
  return {
    value,
    variant: state.state,
    reason: state.stale ? "STALE" : "TARGETING_MATCH",
    flagMetadata: {
      state: state.state,
      stale: state.stale,
      ...(state.endsAt === null ? {} : { ends_at: state.endsAt }),
    },
  };
}
