import assert from "node:assert/strict";
import { test } from "node:test";

import { FleetRows, MOST_AT_ONCE, whyIncomplete } from "./pure/fleet_rows.js";

const NOON = Date.UTC(2026, 10, 22, 12);
const MIN = 60000;
const claim = (more = {}) => ({ source: "breaker", key: "payments@pod-1", state: "freeze", since: NOON, expires_at: NOON + 15 * MIN, ...more });
const record = (tenant, more = {}) => ({ tenant, state: "freeze", decided: "freeze", since: NOON, cause: { kind: "breaker", key: "payments@pod-1" }, claims: [claim()], forecast: [{ at: NOON + 15 * MIN, state: "active" }], ...more });

function taken(fleet, records, now = NOON, changed = new Set(records.keys())) {
  const more = fleet.take(records, changed, now);
  return { more, names: fleet.rows.map((row) => row.tenant), counts: fleet.counts, open: fleet.open };
}

test("the open-ended come first, then the deepest, and who is awake is left out", () => {
  const all = [record("late"), record("light", { state: "light" }), record("pinned", { state: "light", claims: [claim({ source: "pin" })] }), record("awake", { state: "active", decided: "active" }), record("dry", { state: "active" })];
  const { names, counts, open } = taken(new FleetRows(), new Map(all.map((one) => [one.tenant, one])));
  assert.deepEqual(names, ["pinned", "late", "light", "dry"]);
  assert.deepEqual([counts, open], [{ light: 2, deep: 0, freeze: 1 }, 1]);
});

test("a change moves one row, and what is gone leaves", () => {
  const fleet = new FleetRows();
  const records = new Map(["a", "b", "c"].map((name) => [name, record(name)]));
  taken(fleet, records);
  records.set("a", record("a", { state: "light" }));
  records.delete("b");
  const { names, counts } = taken(fleet, records, NOON, new Set(["a", "b", "never"]));
  assert.deepEqual([names, counts], [["c", "a"], { light: 1, deep: 0, freeze: 1 }]);
  const before = fleet.rows;
  assert.equal(fleet.take(records, new Set(), NOON), false);
  assert.equal(fleet.rows, before);
});

test("a forecast moves rows when its time has come, also of one that is awake", () => {
  const fleet = new FleetRows();
  const woken = record("woken", { forecast: [{ at: NOON + 5000, state: "light" }] });
  const pinned = record("pinned", { state: "active", decided: "active", forecast: [{ at: NOON + 5000, state: "deep" }] });
  const records = new Map([["woken", woken], ["pinned", pinned]]);
  assert.deepEqual(taken(fleet, records).names, ["woken"]);
  assert.deepEqual(taken(fleet, records, NOON + 4000, new Set()).names, ["woken"]);
  const { names, counts } = taken(fleet, records, NOON + 6000, new Set());
  assert.deepEqual([names, counts], [["pinned", "woken"], { light: 1, deep: 1, freeze: 0 }]);
});

test("a large change is taken in turns", () => {
  const fleet = new FleetRows();
  const records = new Map(Array.from({ length: MOST_AT_ONCE + 7 }, (_, i) => [`t${i}`, record(`t${i}`)]));
  const changed = new Set(records.keys());
  assert.equal(fleet.take(records, changed, NOON), true);
  assert.deepEqual([fleet.rows.length, changed.size], [MOST_AT_ONCE, 7]);
  assert.equal(fleet.take(records, changed, NOON), false);
  const names = fleet.rows.map((row) => row.tenant);
  assert.deepEqual(names, [...names].sort());
  assert.equal(names.length, MOST_AT_ONCE + 7);
});

test("what the filters keep is looked up again only after a change", () => {
  const fleet = new FleetRows();
  const records = new Map([["Acme", record("Acme")], ["other", record("other", { cause: null })]]);
  taken(fleet, records);
  const filters = { text: "acme" };
  const kept = fleet.fitting(filters, NOON);
  assert.deepEqual(kept.map((row) => row.tenant), ["Acme"]);
  assert.equal(fleet.fitting(filters, NOON + 9999), kept);
  assert.equal(fleet.fitting({}, NOON), fleet.rows);
  const older = { older: "1" };
  assert.equal(fleet.fitting(older, NOON).length, 0);
  assert.equal(fleet.fitting(older, NOON + MIN).length, 2);
});

test("a list that is not live and complete says why", () => {
  const live = { live: true, problem: null, since: null };
  assert.equal(whyIncomplete(live, true, false), "");
  assert.match(whyIncomplete({ ...live, live: false }, false, false), /still coming/);
  assert.match(whyIncomplete(live, false, false), /still coming/, "a stream that goes on with a new token");
  assert.match(whyIncomplete(live, true, true), /still coming/, "a large change that is taken in turns");
  assert.match(whyIncomplete({ live: false, problem: {}, since: NOON }, false, false), /connection is lost/);
  assert.match(whyIncomplete({ live: false, problem: {}, since: NOON, refused: true }, false, false), /API refuses/);
});
