// The rows of the fleet in the order in which a person needs them, kept as records change: open-ended first, then the
// deepest. A change costs one pass over the rows and no sort of all of them.

import { fits } from "./address.js";
import { rowOf } from "./states.js";
import { openEnded } from "./words.js";

const DEPTH = { active: 0, light: 1, deep: 2, freeze: 3 };
const order = (a, b) => b.open - a.open || DEPTH[b.state] - DEPTH[a.state] || a.since - b.since || (a.tenant < b.tenant ? -1 : a.tenant > b.tenant ? 1 : 0);
/** Records that are turned into rows in one turn, so that the page stays free; the rest is left for the next one. */
export const MOST_AT_ONCE = 2000;

/** Why nobody should act on the whole list now, or an empty text. `more` says whether records are left to take. */
export function whyIncomplete(link, ready, more) {
  if (link.refused) return "The API refuses the stream of states, so the list is not complete.";
  if (link.problem) return "The connection is lost, so the list may be out of date. Wait until it is live.";
  if (!link.live || !ready || more) return "States are still coming. Wait until the list is live and complete.";
  return "";
}

export class FleetRows {
  #byTenant = new Map();
  #due = new Map();
  #looked = null;
  #shown = { rows: null, filters: null, now: 0, kept: [] };

  constructor() {
    this.rows = [];
    this.counts = { light: 0, deep: 0, freeze: 0 };
    this.open = 0;
  }

  /**
   * Take the records of the tenants in `changed`, which is emptied, and of those whose forecast is due. Returns whether
   * more is left to take.
   */
  take(records, changed, now) {
    this.#lookAtForecasts(changed, now);
    if (changed.size === 0) return false;
    const gone = new Set();
    const come = [];
    for (const tenant of changed) {
      if (come.length >= MOST_AT_ONCE) break;
      changed.delete(tenant);
      const before = this.#byTenant.get(tenant);
      if (before !== undefined) {
        gone.add(before);
        this.#byTenant.delete(tenant);
        this.#count(before, -1);
      }
      const record = records.get(tenant);
      if (record === undefined) continue;
      const next = record.forecast.find((entry) => entry.at > now);
      // One that is awake may sleep by its forecast, when a pin ends.
      if (next !== undefined) this.#expect(tenant, next.at);
      const row = rowOf(record, now, openEnded);
      if (row === null) continue;
      this.#byTenant.set(tenant, row);
      this.#count(row, 1);
      come.push(row);
    }
    this.rows = merged(this.rows, gone, come.sort(order));
    return changed.size > 0;
  }

  /** The rows that the filters keep. */
  fitting(filters, now) {
    if (Object.keys(filters).length === 0) return this.rows;
    const { rows, filters: asked, now: then, kept } = this.#shown;
    // Only an age changes with time alone; a second does not matter to minutes.
    if (rows === this.rows && asked === filters && (!filters.older || now - then < 1000)) return kept;
    this.#shown = { rows: this.rows, filters, now, kept: this.rows.filter((row) => fits(row, filters, now)) };
    return this.#shown.kept;
  }

  #count(row, by) {
    if (row.state in this.counts) this.counts[row.state] += by;
    if (row.open) this.open += by;
  }

  /** Tenants by the second after which their forecast is due. */
  #expect(tenant, at) {
    const second = Math.floor(at / 1000) + 1;
    const there = this.#due.get(second);
    if (there) there.add(tenant);
    else this.#due.set(second, new Set([tenant]));
  }

  #lookAtForecasts(changed, now) {
    const second = Math.floor(now / 1000);
    if (second === this.#looked) return;
    this.#looked = second;
    for (const [at, tenants] of this.#due) {
      if (at > second) continue;
      for (const tenant of tenants) changed.add(tenant);
      this.#due.delete(at);
    }
  }
}

function merged(rows, gone, come) {
  // As long as it will be: an array that grows is copied again and again.
  const result = new Array(rows.length - gone.size + come.length);
  let end = 0;
  let next = 0;
  for (const row of rows) {
    if (gone.has(row)) continue;
    while (next < come.length && order(come[next], row) < 0) result[end++] = come[next++];
    result[end++] = row;
  }
  while (next < come.length) result[end++] = come[next++];
  return result;
}
