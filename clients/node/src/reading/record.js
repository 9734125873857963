/**
 * The public record of a tenant, from the JSON of the stream.
 * @typedef {import("../../index.js").StateName} StateName
 * @typedef {import("../../index.js").Cause} Cause
 * @typedef {import("./listed.js").Phase} Phase
 * @typedef {{partition: number, offset: number}} Position the offset is -1 before the first record
 */

/**
 * What counts of a record.
 * @typedef {object} PublicRecord
 * @property {string} tenant
 * @property {Position} position
 * @property {readonly [Phase, ...Phase[]]} phases
 * @property {boolean} ownPolicy
 */

import { BadStreamError } from "./errors.js";
import { isWhole } from "./parameters.js";
import { STATES, isState } from "./tenant-state.js";
import { isObject } from "../protocol/answer.js";
import { shown } from "../protocol/names.js";

const POSITION = /^([0-9]{1,15}):([0-9]{1,15})$/;

/**
 * Return the position of a text.
 * @param {unknown} text
 * @returns {Position}
 * @throws {BadStreamError} if it is none.
 */
export function readPosition(text) {
  const found = typeof text === "string" ? POSITION.exec(text) : null;
  if (found === null) throw new BadStreamError(`${shown(text, 60)} is no position`);
  return { partition: Number(found[1]), offset: Number(found[2]) };
}

/**
 * Return what counts of a record; further fields are ignored.
 * @param {Record<string, unknown>} document
 * @param {import("./parameters.js").ParameterReader} sets
 * @returns {PublicRecord}
 * @throws {BadStreamError} if it is no record that this client understands.
 */
export function readRecord(document, sets) {
  const { tenant, at, since, state, parameters, cause, claims, forecast, policy } = document;
  if (typeof tenant !== "string") throw new BadStreamError("a record has no tenant");
  if (policy === undefined) throw new BadStreamError("a record does not say whether it has a policy");
  const ends = readClaims(claims);
  /** @type {[Phase, ...Phase[]]} */
  const phases = [
    { at: time(at), state: stateName(state), since: time(since), cause: readCause(cause), ramp: sets.ramp(parameters) },
  ];
  for (const change of objects(forecast, "forecast")) {
    const begins = time(change.at);
    const ramp = sets.ramp(change.parameters);
    phases.push({ at: begins, state: stateName(change.state), since: begins, cause: causeOfEnd(ends, begins), ramp });
  }
  for (let index = 2; index < phases.length; index += 1) {
    if (Number(phases[index - 1]?.at) >= Number(phases[index]?.at)) {
      throw new BadStreamError("a forecast is not in order");
    }
  }
  return { tenant, position: readPosition(document.position), phases, ownPolicy: policy !== null };
}

/**
 * @param {unknown} value
 * @returns {number}
 */
function time(value) {
  if (!isWhole(value)) throw new BadStreamError("a record has no time in milliseconds");
  return value;
}

/**
 * @param {unknown} name
 * @returns {StateName}
 */
function stateName(name) {
  if (!isState(name)) throw new BadStreamError(`${shown(name, 40)} is no state that this client knows`);
  return name;
}

/**
 * @param {unknown} list
 * @param {string} name
 * @returns {Record<string, unknown>[]}
 */
function objects(list, name) {
  if (!Array.isArray(list) || !list.every(isObject)) throw new BadStreamError(`a record has no ${name}`);
  return list;
}

/**
 * @param {unknown} document
 * @returns {Cause | null}
 */
function readCause(document) {
  if (document === null) return null;
  if (isObject(document)) {
    const { kind, key } = document;
    if (typeof kind === "string" && (key === null || typeof key === "string")) return Object.freeze({ kind, key });
  }
  throw new BadStreamError("a record has no cause");
}

/**
 * What counts of a claim.
 * @typedef {{source: string, key: string, depth: number, expiresAt: number | null}} Claim
 */

/**
 * @param {unknown} claims
 * @returns {Claim[]}
 */
function readClaims(claims) {
  return objects(claims, "claims").map(({ source, key, state, expires_at: expiresAt }) => {
    const ends = expiresAt === null || isWhole(expiresAt);
    if (typeof source !== "string" || typeof key !== "string" || !ends) {
      throw new BadStreamError("a record has a claim without source, key or end");
    }
    return { source, key, depth: STATES.indexOf(stateName(state)), expiresAt };
  });
}

/**
 * Return the cause of a change that the forecast names: which claims end then. The log will say the same.
 * @param {Claim[]} claims
 * @param {number} at
 * @returns {Cause}
 */
function causeOfEnd(claims, at) {
  const ended = claims.filter((claim) => claim.expiresAt === at);
  if (ended.some((claim) => claim.source === "pin")) return Object.freeze({ kind: "pin_ended", key: "pin" });
  const [first, ...others] = ended;
  if (first === undefined) return Object.freeze({ kind: "hold_ended", key: null });
  const deepest = others.reduce((best, claim) => (comesBefore(claim, best) ? claim : best), first);
  return Object.freeze({ kind: "expired", key: deepest.key });
}

/**
 * @param {Claim} one
 * @param {Claim} other
 */
function comesBefore(one, other) {
  if (one.depth !== other.depth) return one.depth > other.depth;
  return one.source === other.source ? precedes(one.key, other.key) : precedes(one.source, other.source);
}

/**
 * Compare by code points, as the server does. JavaScript's `<` compares by UTF-16, which differs above U+FFFF.
 * @param {string} one
 * @param {string} other
 */
function precedes(one, other) {
  return Buffer.compare(Buffer.from(one), Buffer.from(other)) < 0;
}
