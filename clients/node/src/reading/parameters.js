/**
 * Sets of parameters, and straight ramps between two of them.
 * @typedef {import("../../index.js").Parameters} Parameters
 * @typedef {readonly number[]} Numbers the values in the order of `NAMES`
 */

import { BadStreamError } from "./errors.js";
import { isObject } from "../protocol/answer.js";

const NAMES = /** @type {const} */ (["K", "t", "tau", "eta", "lambda", "B"]);
/** Different sets that are kept to be shared. A platform has four for each schedule; ramps add some. */
const MOST_KEPT = 1000;

/**
 * Return values for callers: by name, with `K` rounded half up.
 * @param {Numbers} numbers
 * @returns {Parameters}
 */
function shown(numbers) {
  const [K, t, tau, eta, lambda, B] = /** @type {[number, number, number, number, number, number]} */ (numbers);
  return Object.freeze({ K: Math.floor(K + 0.5), t, tau, eta, lambda, B });
}

/** A set: its numbers, and what callers get. Many tenants share one. */
export class ParameterSet {
  /** @param {Numbers} numbers */
  constructor(numbers) {
    this.numbers = numbers;
    this.shown = shown(numbers);
  }

  /** @param {ParameterSet} other */
  equals(other) {
    return this === other || this.numbers.every((number, index) => number === other.numbers[index]);
  }
}

/** A straight line in time from one set to another; times in milliseconds. */
export class Ramp {
  /**
   * @param {ParameterSet} start
   * @param {ParameterSet} target
   * @param {number} startsAt
   * @param {number} endsAt
   */
  constructor(start, target, startsAt, endsAt) {
    this.start = start;
    this.target = target;
    this.startsAt = startsAt;
    this.endsAt = endsAt;
  }

  /**
   * Return the values at a time: exactly those of the target from `endsAt` on.
   * @param {number} now
   * @returns {Parameters}
   */
  at(now) {
    if (now >= this.endsAt) return this.target.shown;
    if (now <= this.startsAt) return this.start.shown;
    const share = (now - this.startsAt) / (this.endsAt - this.startsAt);
    const target = this.target.numbers;
    return shown(this.start.numbers.map((number, index) => number + (Number(target[index]) - number) * share));
  }
}

/** Reads sets and ramps, and keeps equal sets once. */
export class ParameterReader {
  /** @type {Map<string, ParameterSet>} */
  #kept = new Map();

  /**
   * Return the set of a document.
   * @param {unknown} document
   * @returns {ParameterSet}
   * @throws {BadStreamError} if it is none.
   */
  set(document) {
    if (!isObject(document)) throw new BadStreamError("a set of parameters is no object");
    const numbers = NAMES.map((name) => document[name]);
    if (!numbers.every((number) => typeof number === "number" && Number.isFinite(number))) {
      throw new BadStreamError("a set of parameters has a value that is no number");
    }
    const key = numbers.join();
    let known = this.#kept.get(key);
    if (known === undefined) {
      if (this.#kept.size >= MOST_KEPT) this.#kept.clear();
      known = new ParameterSet(Object.freeze(/** @type {number[]} */ (numbers)));
      this.#kept.set(key, known);
    }
    return known;
  }

  /**
   * Return the ramp of a document.
   * @param {unknown} document
   * @returns {Ramp}
   * @throws {BadStreamError} if it is none.
   */
  ramp(document) {
    if (!isObject(document)) throw new BadStreamError("a ramp is no object");
    const { starts_at: startsAt, ends_at: endsAt } = document;
    if (!isWhole(startsAt) || !isWhole(endsAt)) {
      throw new BadStreamError("a ramp has no start or end in milliseconds");
    }
    return new Ramp(this.set(document.from), this.set(document.to), startsAt, endsAt);
  }
}

/**
 * Tell whether a value is a whole number.
 * @param {unknown} value
 * @returns {value is number}
 */
export function isWhole(value) {
  return Number.isSafeInteger(value);
}
