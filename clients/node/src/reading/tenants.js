/**
 * All that a reader knows of tenants.
 * @typedef {import("../../index.js").TenantState} TenantState
 * @typedef {import("./snapshot.js").PartitionRules} PartitionRules
 * @typedef {import("./snapshot.js").Snapshot} Snapshot
 * @typedef {import("./listed.js").Listed} Listed
 */

import { BadStreamError, NotReady, NotWatched } from "./errors.js";
import { partitionOf } from "./partitions.js";
import { tenantState } from "./tenant-state.js";
import { checkTenant } from "../protocol/names.js";

/** How long a tenant stays after it is no longer listed. Answers do not depend on it, unless time goes back by more. */
const GRACE_MS = 60_000;

/** The answers for tenants that are not listed: fresh and stale, by partition. */
class Fallbacks {
  /** @type {Map<number, {fresh: TenantState, stale: TenantState}>} */
  #byPartition = new Map();
  /** @type {{fresh: TenantState, stale: TenantState} | null} */
  #common = null;

  /** @param {ReadonlyMap<number, PartitionRules>} rules */
  constructor(rules) {
    const [first, ...others] = rules.values();
    if (first === undefined) throw new BadStreamError("there are no rules");
    this.partitions = first.partitions;
    for (const [number, { fallback }] of rules) {
      const fresh = tenantState("active", fallback.shown, null, null, null, false);
      this.#byPartition.set(number, { fresh, stale: Object.freeze({ ...fresh, stale: true }) });
    }
    // Mostly all partitions have the same rules. Then no name has to be hashed.
    if (others.every((each) => each.fallback.equals(first.fallback))) {
      this.#common = this.#byPartition.get(first.partition) ?? null;
    }
  }

  /**
   * Return the answer for a tenant.
   * @param {string} tenant
   * @param {boolean} stale
   * @returns {TenantState}
   */
  of(tenant, stale) {
    const answers = this.#common ?? this.#byPartition.get(partitionOf(tenant, this.partitions));
    if (answers === undefined) throw new NotReady(`the rules of tenant ${tenant} are not known`);
    return stale ? answers.stale : answers.fresh;
  }
}

/**
 * What belongs together: the listed tenants, and the rules.
 * @typedef {{records: Map<string, Listed>, rules: Map<number, PartitionRules>, fallbacks: Fallbacks}} Known
 */

export class Tenants {
  /** Whether answers say that they are stale. */
  stale = true;
  /** Whether every tenant is taken for awake, at the last default active set. */
  woken = false;
  /** @type {Known | null} */
  #known = null;
  /** @type {ReadonlySet<string> | null} */
  #watched;
  /** @type {TenantState | null} */
  #initial;
  #why = "the reader has no states yet";
  #expiredAt = 0;

  /**
   * @param {Iterable<string> | null} watched the tenants of the reader, null for all
   * @param {TenantState | null} initial the answer while nothing is known; null throws
   */
  constructor(watched, initial) {
    this.#watched = watched === null ? null : new Set(watched);
    this.#initial = initial === null ? null : Object.freeze({ ...initial, stale: true });
  }

  /**
   * Return the state of a tenant at a time.
   * @param {string} tenant
   * @param {number} now milliseconds of the log
   * @returns {TenantState}
   * @throws {NotReady} if nothing is known.
   * @throws {NotWatched} if the tenant is not one of the reader's.
   * @throws {TypeError} if no tenant can have this name.
   */
  at(tenant, now) {
    const known = this.#known;
    if (known === null) return this.#unknown(tenant);
    const listed = known.records.get(tenant);
    if (listed === undefined) this.#check(tenant);
    else if (now < listed.until && !this.woken) return listed.at(now, this.stale);
    return known.fallbacks.of(tenant, this.stale);
  }

  /**
   * Return when a tenant will be in none of these states, by its forecast; null if that is not known.
   * @param {string} tenant
   * @param {ReadonlySet<string>} states
   * @param {number} now
   */
  leavesAt(tenant, states, now) {
    return this.#known?.records.get(tenant)?.leavesAt(states, now) ?? null;
  }

  /** @param {string} tenant */
  #unknown(tenant) {
    this.#check(tenant);
    if (this.#initial === null) throw new NotReady(this.#why);
    return this.#initial;
  }

  /** @param {string} tenant */
  #check(tenant) {
    checkTenant(tenant);
    if (!this.isWatched(tenant)) throw new NotWatched(`tenant ${tenant} is not in \`tenants\` of this reader`);
  }

  /** Whether a snapshot was taken. */
  get complete() {
    return this.#known !== null;
  }

  /**
   * Say why nothing is known, for `NotReady`.
   * @param {string} why
   */
  explain(why) {
    this.#why = why;
  }

  /**
   * Know nothing any more, whatever was given for the time before.
   * @param {string} why
   */
  forget(why) {
    this.#why = why;
    this.#initial = null;
    this.#known = null;
  }

  /**
   * Tell whether a tenant is one of the reader's.
   * @param {string} tenant
   */
  isWatched(tenant) {
    return this.#watched === null || this.#watched.has(tenant);
  }

  /**
   * Return the rules of a partition that are known.
   * @param {number} partition
   */
  rulesOf(partition) {
    return this.#known?.rules.get(partition);
  }

  /**
   * Take the state of a tenant, unless a newer one is known. Return whether it was taken.
   * @param {string} tenant
   * @param {Listed} listed
   */
  put(tenant, listed) {
    if (this.#known === null || isNewer(this.#known.records.get(tenant), listed.offset)) return false;
    this.#known.records.set(tenant, listed);
    return true;
  }

  /**
   * Remove a tenant as of an offset, unless a newer state is known. Return whether it was there.
   * @param {string} tenant
   * @param {number} offset
   */
  remove(tenant, offset) {
    if (this.#known === null || isNewer(this.#known.records.get(tenant), offset)) return false;
    return this.#known.records.delete(tenant);
  }

  /**
   * Take the rules of a partition. Return whether its default active set is another one.
   *
   * Tenants that are not listed at `now` take it at once. Listed ones keep their own until their state comes.
   * @param {PartitionRules} rules
   * @param {number} now
   * @returns {boolean}
   * @throws {BadStreamError} if there are more partitions, or fewer, than before.
   */
  setRules(rules, now) {
    const known = this.#known;
    if (known === null) return false;
    const { partitions } = known.fallbacks;
    if (rules.partitions !== partitions) {
      throw new BadStreamError(`there were ${partitions} partitions, and now are ${rules.partitions}`);
    }
    const before = known.rules.get(rules.partition);
    known.rules.set(rules.partition, rules);
    if (before?.fallback.equals(rules.fallback)) return false;
    for (const [tenant, listed] of known.records) {
      if (partitionOf(tenant, partitions) !== rules.partition) continue;
      if (listed.until > now) known.records.set(tenant, listed.under(rules.fallback));
      else known.records.delete(tenant);
    }
    known.fallbacks = new Fallbacks(known.rules);
    return true;
  }

  /**
   * Take a snapshot, in place of all that is known.
   *
   * A tenant that it lacks stays if its state is newer than the snapshot: Redis may have gone back. Of two states of a
   * tenant the newer one counts.
   * @param {Snapshot} snapshot
   * @throws {BadStreamError} if the snapshot is not complete.
   */
  replace(snapshot) {
    const partitions = this.#requireComplete(snapshot.rules);
    const { records, rules } = snapshot;
    const known = this.#known;
    if (known !== null && known.fallbacks.partitions === partitions) {
      for (const [tenant, listed] of known.records) {
        const its = rules.get(partitionOf(tenant, partitions));
        if (its !== undefined && listed.offset > (records.get(tenant) ?? its).offset) {
          records.set(tenant, listed.under(its.fallback));
        }
      }
    }
    this.#known = { records, rules, fallbacks: new Fallbacks(rules) };
  }

  /**
   * @param {ReadonlyMap<number, PartitionRules>} rules
   * @returns {number} of partitions
   */
  #requireComplete(rules) {
    const [count, ...others] = new Set([...rules.values()].map((each) => each.partitions));
    if (count === undefined || others.length > 0) {
      throw new BadStreamError("a snapshot has no rules, or they name different numbers of partitions");
    }
    const wanted =
      this.#watched === null ? Array(count).keys() : [...this.#watched].map((tenant) => partitionOf(tenant, count));
    for (const partition of wanted) {
      if (!rules.has(partition)) throw new BadStreamError(`a snapshot lacks the rules of partition ${partition}`);
    }
    return count;
  }

  /**
   * Remove tenants that are no longer listed, at most once in a minute.
   * @param {number} now
   */
  expire(now) {
    const known = this.#known;
    const past = now - this.#expiredAt;
    if (known === null || (past >= 0 && past < GRACE_MS)) return;
    this.#expiredAt = now;
    for (const [tenant, listed] of known.records) {
      if (listed.until <= now - GRACE_MS) known.records.delete(tenant);
    }
  }
}

/**
 * @param {Listed | undefined} known
 * @param {number} offset
 */
function isNewer(known, offset) {
  return known !== undefined && known.offset > offset;
}
