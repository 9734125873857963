/**
 * The last state of each breaker and instance: what waits, what the server knows, and what is repeated.
 *
 * A breaker and instance is in one of three places:
 *
 * - *waiting*: its last state has to be sent. A later state takes its place in the queue.
 * - *held*: the server knows its state, which means sleep. It is sent again before the lease ends.
 * - *settled*: the server knows its state, which does not mean sleep. It is remembered so that a caller may report it
 *   again and again at no cost, and so that its later stamps are not earlier. The oldest is forgotten first.
 * @typedef {import("./events.js").Event} Event
 * @typedef {import("./report.js").DropReason} DropReason
 * @typedef {import("./report.js").Report} Report
 * @typedef {import("./server-time.js").ServerTime} ServerTime
 */

import { SLEEPING, readReport } from "./report.js";

/** Breakers and instances that are remembered. A tenant has at most 256 claims at the server. */
export const MOST_KEYS = 10_000;
/** Events in a batch. About as many fit into the 64 KiB of a body. */
const MOST_EVENTS = 200;
/** An event that is further ahead of the log is refused by the server, so it cannot make a later one stale. */
const SKEW_MS = 60_000;
/** How long after the time to try again a refused tenant is remembered, so that the log has one line about it. */
const REFUSAL_REMEMBERED_SECONDS = 3600;
/** The part of the period by which a repeat may come early, to share a request with another one. */
const REPEATED_TOGETHER = 0.1;

class Entry {
  /**
   * What is under way, or was sent without an answer.
   * @type {Event | null}
   */
  event = null;
  /**
   * When it is sent again; null if the server has not acknowledged it.
   * @type {number | null}
   */
  due = null;

  /**
   * @param {Report} report
   * @param {number} floor The newest stamp of this breaker and instance that was sent, in milliseconds. Later stamps
   *   are above it.
   * @param {boolean} claimed Whether the server may have a claim: a state that means sleep was sent, and no other one
   *   was accepted since.
   */
  constructor(report, floor, claimed = false) {
    this.report = report;
    this.floor = floor;
    this.claimed = claimed;
  }
}

/** Reports on their way to the server. */
export class Outbox {
  /** @type {Map<DropReason, number>} */
  dropped = new Map();
  #period;
  #name;
  #mostKeys;
  /** @type {Map<string, Entry>} */
  #waiting = new Map();
  /**
   * In the order of their repeats, since all have the same period.
   * @type {Map<string, Entry>}
   */
  #held = new Map();
  /** @type {Map<string, Entry>} */
  #settled = new Map();
  /**
   * Tenants that the server has refused since it last accepted them, and when to try again.
   * @type {Map<string, number>}
   */
  #parked = new Map();
  /** @type {Entry[]} */
  #batch = [];
  #limit = MOST_EVENTS;
  /** The newest stamp of the breakers and instances that were forgotten. */
  #forgotten = 0;
  #count = 0;

  /**
   * @param {number} period seconds after which a state that means sleep is sent again
   * @param {string} name the first part of the events' ids
   * @param {number} [mostKeys] breakers and instances that are remembered
   */
  constructor(period, name, mostKeys = MOST_KEYS) {
    this.#period = period;
    this.#name = name;
    this.#mostKeys = mostKeys;
  }

  /**
   * Count reports that are not sent.
   * @param {DropReason} reason
   * @param {number} [count]
   */
  drop(reason, count = 1) {
    if (count > 0) this.dropped.set(reason, this.droppedFor(reason) + count);
  }

  /** @param {DropReason} reason */
  droppedFor(reason) {
    return this.dropped.get(reason) ?? 0;
  }

  /**
   * Remember a state as the last one of its breaker and instance, and return whether it has to be sent.
   *
   * The same state again changes nothing. A report for which there is no room is counted as `full`.
   * @param {Report} report
   * @returns {boolean}
   */
  report(report) {
    const { key } = report;
    const previous = this.#waiting.get(key) ?? this.#held.get(key) ?? this.#settled.get(key);
    if (previous === undefined) {
      if (!this.#makeRoom()) {
        this.drop("full");
        return false;
      }
      this.#waiting.set(key, new Entry(report, this.#forgotten));
      return true;
    }
    if (previous.report.state === report.state) return false;
    if (this.#waiting.has(key) && previous.event === null && previous.due === null) this.drop("replaced");
    this.#held.delete(key);
    this.#settled.delete(key);
    this.#waiting.set(key, new Entry(report, previous.floor, previous.claimed));
    return true;
  }

  #makeRoom() {
    if (this.#waiting.size + this.#held.size + this.#settled.size < this.#mostKeys) return true;
    const [oldest] = this.#settled;
    if (oldest === undefined) return false;
    this.#settled.delete(oldest[0]);
    this.#forget(oldest[1]);
    return true;
  }

  /** @param {Entry} entry */
  #forget(entry) {
    this.#forgotten = Math.max(this.#forgotten, entry.floor);
  }

  /**
   * Return when the next event has to be sent: `now` or later; null if nothing has to be sent.
   * @param {number} now
   * @returns {number | null}
   */
  dueAt(now) {
    for (const [tenant, at] of this.#parked) {
      if (at <= now - REFUSAL_REMEMBERED_SECONDS) this.#parked.delete(tenant);
    }
    if (this.#sendable(now, 1).length > 0) return now;
    let soonest = this.#nextRepeat();
    for (const { report } of this.#waiting.values()) {
      soonest = Math.min(soonest, this.#parked.get(report.tenant) ?? now);
    }
    return soonest === Infinity ? null : Math.max(now, soonest);
  }

  /**
   * @param {number} now
   * @param {number} most
   */
  #sendable(now, most) {
    const found = [];
    for (const entry of this.#waiting.values()) {
      if (found.length === most) break;
      if ((this.#parked.get(entry.report.tenant) ?? now) <= now) found.push(entry);
    }
    return found;
  }

  /** The number of breakers and instances whose last state has to be sent. */
  get waiting() {
    return this.#waiting.size;
  }

  /**
   * Return the next batch, of which each event has its stamp; empty if nothing is due.
   *
   * The batch is under way until `accepted` or one of the `refused` methods. If none is called, it is sent again.
   * @param {number} now
   * @param {ServerTime} serverTime
   * @returns {Event[]}
   */
  take(now, serverTime) {
    this.#repeatDue(now);
    this.#batch = this.#sendable(now, this.#limit);
    return this.#batch.map((entry) => this.#event(entry, now, serverTime));
  }

  /** @param {number} now */
  #repeatDue(now) {
    if (this.#nextRepeat() > now) return;
    const until = now + this.#period * REPEATED_TOGETHER;
    for (const [key, entry] of this.#held) {
      if ((entry.due ?? 0) > until) break;
      this.#held.delete(key);
      this.#waiting.set(key, entry);
    }
  }

  /** Return when the first repeat is due, `Infinity` without one. */
  #nextRepeat() {
    const [first] = this.#held.values();
    return first === undefined ? Infinity : (first.due ?? 0);
  }

  /**
   * @param {Entry} entry
   * @param {number} now
   * @param {ServerTime} serverTime
   * @returns {Event}
   */
  #event(entry, now, serverTime) {
    if (entry.event === null) {
      this.#count += 1;
      const occurredAt = this.#stamp(entry, now, serverTime);
      entry.event = { id: `${this.#name}-${this.#count}`, occurredAt, report: entry.report };
      entry.floor = Math.max(entry.floor, occurredAt ?? 0);
      entry.claimed ||= SLEEPING.has(entry.report.state);
    }
    return entry.event;
  }

  /**
   * Return when the state was reported, by the server's time, and later than what was sent before.
   *
   * A repeat has the stamp of the first time: the server takes it as a renewal, and it undoes nothing that is newer.
   * @param {Entry} entry
   * @param {number} now
   * @param {ServerTime} serverTime
   */
  #stamp(entry, now, serverTime) {
    const stamp = serverTime.at(entry.report.at);
    const present = serverTime.at(now);
    if (stamp === null || present === null || entry.floor > present + SKEW_MS) return stamp;
    if (entry.due !== null && entry.floor > 0) return entry.floor;
    return Math.max(stamp, entry.floor + 1);
  }

  /**
   * Note that the first `count` events of the batch are in the log.
   * @param {number} count
   * @param {number} now
   */
  accepted(count, now) {
    this.#limit = Math.min(this.#limit * 2, MOST_EVENTS);
    for (const entry of this.#batch.slice(0, count)) {
      const { key, tenant, state } = entry.report;
      this.#parked.delete(tenant);
      // A later state may have taken its place while the request was under way.
      if (this.#waiting.get(key) !== entry) continue;
      this.#waiting.delete(key);
      entry.event = null;
      if (SLEEPING.has(state)) {
        entry.due = now + this.#period;
        this.#held.set(key, entry);
      } else {
        entry.claimed = false;
        this.#settled.set(key, entry);
      }
    }
  }

  /**
   * Note that the first `count` events of the batch were refused, since at least one of them is invalid.
   * @param {number} count the number of events that were sent
   * @param {readonly number[]} [wrong] the indices of the invalid ones. If the server named none, halves of the batch
   *   find them.
   */
  refused(count, wrong = []) {
    const found = wrong.length === 0 && count === 1 ? [0] : wrong;
    for (const index of found) {
      const entry = this.#batch[index];
      if (entry !== undefined) this.#refuse(entry);
    }
    if (found.length === 0) this.#limit = Math.max(1, Math.floor(count / 2));
  }

  /** @param {Entry} entry */
  #refuse(entry) {
    if (this.#waiting.get(entry.report.key) !== entry) return;
    this.#waiting.delete(entry.report.key);
    this.#forget(entry);
    this.drop("refused");
  }

  /**
   * Note that the first `count` events were refused, since one of their tenants may not be reported now.
   *
   * Halves of the batch find the tenant. Its events then wait, so that those of other tenants do not.
   * @param {number} count
   * @param {number} until
   * @returns {string | null} the tenant whose events now wait until `until`; null if it is not known yet, or has been
   *   refused before.
   */
  refusedTenant(count, until) {
    const [tenant, ...others] = new Set(this.#batch.slice(0, count).map(({ report }) => report.tenant));
    this.#limit = Math.max(1, Math.floor(count / 2));
    if (tenant === undefined || others.length > 0) return null;
    const known = this.#parked.has(tenant);
    this.#parked.set(tenant, until);
    return known ? null : tenant;
  }

  /**
   * Report as closed whatever the server may hold, and forget other states that mean sleep.
   * @param {number} now
   */
  release(now) {
    for (const [key, entry] of [...this.#waiting, ...this.#held]) {
      const { tenant, breaker, instance, state } = entry.report;
      if (!SLEEPING.has(state)) continue;
      if (entry.claimed) this.report(readReport(tenant, breaker, "closed", instance, "the emitter was closed", now));
      else this.#waiting.delete(key);
    }
  }

  /** Drop all that waits, and return how many reports that were. */
  abandon() {
    const { size } = this.#waiting;
    this.drop("closed", size);
    this.#waiting.clear();
    return size;
  }
}
