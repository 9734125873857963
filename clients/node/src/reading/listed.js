/**
 * A listed tenant: its state at a time, and until when it is listed.
 * @typedef {import("../../index.js").StateName} StateName
 * @typedef {import("../../index.js").Cause} Cause
 * @typedef {import("../../index.js").TenantState} TenantState
 * @typedef {import("./parameters.js").Ramp} Ramp
 * @typedef {import("./parameters.js").ParameterSet} ParameterSet
 */

/**
 * A state that a tenant has, or will have if nothing else happens.
 * @typedef {object} Phase
 * @property {number} at when it begins; ignored for the first one of a tenant
 * @property {StateName} state its name
 * @property {number} since when the decision was taken
 * @property {Cause | null} cause why
 * @property {Ramp} ramp the parameters
 */

import { tenantState } from "./tenant-state.js";

/** A listed tenant. It remembers its last answer. */
export class Listed {
  /** @type {TenantState | null} */
  #answer = null;
  /** From when and until when the remembered answer is right. */
  #from = 0;
  #to = 0;

  /**
   * @param {number} offset of the position of its record
   * @param {readonly [Phase, ...Phase[]]} phases the present state, and those to come, in order
   * @param {ParameterSet} fallback the default active set of its partition
   * @param {boolean} ownPolicy whether the tenant has a policy of its own, and so stays listed
   */
  constructor(offset, phases, fallback, ownPolicy) {
    this.offset = offset;
    this.phases = phases;
    this.ownPolicy = ownPolicy;
    /** Until when the tenant is listed: until it rests awake at the default set, or for ever. */
    this.until = listedUntil(phases, fallback, ownPolicy);
  }

  /**
   * Return the tenant under another default active set of its partition.
   * @param {ParameterSet} fallback
   */
  under(fallback) {
    return new Listed(this.offset, this.phases, fallback, this.ownPolicy);
  }

  /**
   * Return the state at a time.
   * @param {number} now milliseconds
   * @param {boolean} stale what the answer says
   * @returns {TenantState}
   */
  at(now, stale) {
    const answer = this.#answer;
    if (answer !== null && now >= this.#from && now < this.#to && answer.stale === stale) return answer;
    return this.#find(now, stale);
  }

  /**
   * @param {number} now
   * @param {boolean} stale
   */
  #find(now, stale) {
    const { phases } = this;
    let index = 0;
    for (let next = phases[1]; next !== undefined && next.at <= now; next = phases[index + 1]) index += 1;
    const phase = /** @type {Phase} */ (phases[index]);
    const following = phases[index + 1]?.at ?? null;
    const answer = tenantState(phase.state, phase.ramp.at(now), phase.since, phase.cause, following, stale);
    const { endsAt } = phase.ramp;
    if (now >= endsAt) {
      this.#answer = answer;
      this.#from = index === 0 ? endsAt : Math.max(endsAt, phase.at);
      this.#to = following ?? Infinity;
    }
    return answer;
  }

  /**
   * Return when the tenant will be in none of these states by its forecast; null if that is not known.
   * @param {ReadonlySet<string>} states
   * @param {number} now
   * @returns {number | null}
   */
  leavesAt(states, now) {
    return this.phases.slice(1).find((phase) => phase.at > now && !states.has(phase.state))?.at ?? null;
  }
}

/**
 * @param {readonly [Phase, ...Phase[]]} phases
 * @param {ParameterSet} fallback
 * @param {boolean} ownPolicy
 */
function listedUntil(phases, fallback, ownPolicy) {
  const last = /** @type {Phase} */ (phases.at(-1));
  if (ownPolicy || last.state !== "active" || !last.ramp.target.equals(fallback)) return Infinity;
  return last.ramp.endsAt;
}
