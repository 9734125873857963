/** What the events of one connection change. */

import { BadStreamError } from "./errors.js";
import { Listed } from "./listed.js";
import { isWhole } from "./parameters.js";
import { readPosition, readRecord } from "./record.js";
import { Snapshot } from "./snapshot.js";
import { isObject } from "../protocol/answer.js";
import { isTenant, shown } from "../protocol/names.js";

/** More partitions than a topic of Kafka has. */
const MOST_PARTITIONS = 100_000;

/** What has changed since somebody asked: tenants by name, or everything. */
export class Changed {
  /** @type {Set<string>} */
  #names = new Set();
  #all = false;

  /** @param {string} tenant */
  add(tenant) {
    this.#names.add(tenant);
  }

  /** Note that any tenant may have changed. */
  addAll() {
    this.#all = true;
  }

  /** Return the names since the last call, null if it may be any. */
  take() {
    const names = this.#all ? null : this.#names;
    this.#names = new Set();
    this.#all = false;
    return names;
  }
}

/**
 * Takes the events of one connection.
 *
 * A snapshot is kept aside until `ready`. What came after an id is taken at once, since each event stands alone.
 */
export class Intake {
  /** Whether `ready` came. */
  ready = false;
  #tenants;
  #clock;
  #sets;
  #changed;
  /** @type {Snapshot | null} */
  #snapshot;

  /**
   * @param {import("./tenants.js").Tenants} tenants what is known
   * @param {import("./log-clock.js").LogClock} clock the log's
   * @param {import("./parameters.js").ParameterReader} sets reads parameters
   * @param {Changed} changed gets what changes
   * @param {string} lastId what the connection goes on from, "" for a snapshot
   */
  constructor(tenants, clock, sets, changed, lastId) {
    /** What the next connection goes on from. */
    this.lastId = lastId;
    this.#tenants = tenants;
    this.#clock = clock;
    this.#sets = sets;
    this.#changed = changed;
    this.#snapshot = lastId === "" ? new Snapshot() : null;
  }

  /**
   * Take an event. Unknown ones are ignored.
   * @param {import("./sse.js").Event} event
   * @param {number} local the local clock, in seconds
   * @returns {boolean} whether it had the log's time.
   * @throws {BadStreamError} if it cannot be understood; then it changes nothing.
   */
  take(event, local) {
    let hasTime = false;
    switch (event.name) {
      case "state":
        this.#state(documentOf(event));
        break;
      case "gone":
        this.#gone(documentOf(event));
        break;
      case "rules":
        this.#rules(documentOf(event), local);
        break;
      case "ready":
      case "time":
        this.#time(documentOf(event), local, event.name === "ready");
        hasTime = true;
        break;
      case "reset":
        this.#snapshot = new Snapshot();
        this.ready = false;
        break;
      default:
    }
    if (event.id !== null) this.lastId = event.id;
    return hasTime;
  }

  /** @param {Record<string, unknown>} document */
  #state(document) {
    const { tenant, position, phases, ownPolicy } = readRecord(document, this.#sets);
    if (!this.#tenants.isWatched(tenant)) return;
    checkName(tenant);
    const { partition, offset } = position;
    const rules = this.#snapshot === null ? this.#tenants.rulesOf(partition) : this.#snapshot.rules.get(partition);
    if (rules === undefined) {
      throw new BadStreamError(`a state came before the rules of its partition ${partition}`);
    }
    const listed = new Listed(offset, phases, rules.fallback, ownPolicy);
    if (this.#snapshot === null) {
      if (this.#tenants.put(tenant, listed)) this.#changed.add(tenant);
    } else if ((this.#snapshot.records.get(tenant)?.offset ?? -1) <= offset) {
      this.#snapshot.records.set(tenant, listed);
    }
  }

  /** @param {Record<string, unknown>} document */
  #gone(document) {
    const tenant = checkName(document.tenant);
    const offset = offsetOf(document.position);
    if (this.#snapshot === null) {
      if (this.#tenants.remove(tenant, offset)) this.#changed.add(tenant);
    } else if ((this.#snapshot.records.get(tenant)?.offset ?? Infinity) <= offset) {
      this.#snapshot.records.delete(tenant);
    }
  }

  /**
   * @param {Record<string, unknown>} document
   * @param {number} local
   */
  #rules(document, local) {
    const { partition, partitions } = document;
    const whole = isWhole(partition) && isWhole(partitions);
    if (!whole || partition < 0 || partition >= partitions || partitions > MOST_PARTITIONS) {
      throw new BadStreamError("rules have no partition, or too many");
    }
    const fallback = this.#sets.set(document.active);
    const rules = { partition, partitions, offset: offsetOf(document.position), fallback };
    if (this.#snapshot !== null) this.#snapshot.rules.set(partition, rules);
    else if (this.#tenants.setRules(rules, this.#clock.at(local))) this.#changed.addAll();
  }

  /**
   * @param {Record<string, unknown>} document
   * @param {number} local
   * @param {boolean} ready
   */
  #time(document, local, ready) {
    const { now } = document;
    if (!isWhole(now)) throw new BadStreamError("the log's time is missing");
    if (ready && this.#snapshot !== null) {
      this.#tenants.replace(this.#snapshot);
      this.#snapshot = null;
      this.#changed.addAll();
    }
    this.#clock.learn(now, local);
    this.ready ||= ready;
    this.#tenants.expire(this.#clock.at(local));
  }
}

/**
 * @param {import("./sse.js").Event} event
 * @returns {Record<string, unknown>}
 */
function documentOf({ name, data }) {
  let document;
  try {
    document = JSON.parse(data);
  } catch {
    throw new BadStreamError(`the data of an event ${shown(name, 20)} is no JSON`);
  }
  if (!isObject(document)) throw new BadStreamError(`the data of an event ${shown(name, 20)} is no object`);
  return document;
}

/**
 * @param {unknown} tenant
 * @returns {string}
 */
function checkName(tenant) {
  if (!isTenant(tenant)) throw new BadStreamError(`${shown(tenant, 40)} is no name of a tenant`);
  return tenant;
}

/** @param {unknown} position */
function offsetOf(position) {
  return position === null || position === undefined ? -1 : readPosition(position).offset;
}
