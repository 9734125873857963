/** The parts of the reader's core: bytes, records, time and tokens; what is wrong changes nothing. */

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { BadStreamError, NotReady, NotWatched, ReaderError } from "../src/reading/errors.js";
import { Changed, Intake } from "../src/reading/intake.js";
import { LogClock } from "../src/reading/log-clock.js";
import { ParameterReader } from "../src/reading/parameters.js";
import { EventParser, MOST_CHARACTERS } from "../src/reading/sse.js";
import { Tenants } from "../src/reading/tenants.js";
import { endsAt } from "../src/reading/token.js";
import { DEFAULTS, T, bytes, event, ready, record, rules, snapshot, state, token } from "./support/states.js";

/** What is known, and one connection. */
class Reader {
  clock = new LogClock();
  changed = new Changed();
  sets = new ParameterReader();

  constructor(watched = null, initial = null) {
    this.tenants = new Tenants(watched, initial);
    this.connect("");
  }

  connect(lastId) {
    this.intake = new Intake(this.tenants, this.clock, this.sets, this.changed, lastId);
  }

  take(text, local = 0) {
    for (const each of new EventParser().feed(bytes(text))) this.intake.take(each, local);
  }

  state(tenant, now = T) {
    return this.tenants.at(tenant, now).state;
  }
}

let reader;
beforeEach(() => {
  reader = new Reader();
  reader.take(snapshot(["acme"]));
  reader.changed.take();
});

const names = (set) => set && [...set].sort();

// Bytes

const EVENTS = 'retry: 2000\nid: 1\nevent: time\ndata: {"now":\ndata:  1}\n\n:\n\nid\n\ndata: ü\n\nid: a\0b\n\n';

for (const size of [1, 2, 3, 7, 1000]) {
  for (const end of ["\n", "\r\n", "\r"]) {
    test(`events are cut wherever they are cut before: ${size} ${JSON.stringify(end)}`, () => {
      const data = bytes(`${EVENTS.replaceAll("\n", end)}event: unfinished\ndata: x\n`);
      const parser = new EventParser();
      const found = [];
      for (let at = 0; at < data.length; at += size) found.push(...parser.feed(data.subarray(at, at + size)));
      assert.deepEqual(found, [
        { name: "time", data: '{"now":\n 1}', id: "1" },
        { name: "", data: "", id: "" },
        { name: "", data: "ü", id: null },
      ]);
    });
  }
}

test("an event has a bound", () => {
  const parser = new EventParser();
  parser.feed(bytes(`data: ${"x".repeat(MOST_CHARACTERS - 6)}`));
  assert.throws(() => parser.feed(bytes("x")), { constructor: BadStreamError, message: /more than/ });
});

test("bytes that are no text are rubbish", () => {
  const parser = new EventParser();
  const wanted = { constructor: BadStreamError, message: /no text/ };
  assert.throws(() => parser.feed(Uint8Array.of(0x64, 0xff, 0x0a)), wanted);
});

// Events

const BAD = [
  "event: time\ndata: {\n\n",
  "event: time\ndata: 7\n\n",
  "event: time\ndata: null\n\n",
  event("time", { now: "soon" }),
  event("time", { now: true }),
  event("time", { now: 1.5 }),
  event("gone", { tenant: "a b", position: "0:1" }),
  event("gone", { tenant: "acme", position: "one" }),
  event("gone", { tenant: "acme", position: "0:-1" }),
  event("gone", { tenant: "acme", position: 99 }),
  event("rules", { partition: 0 }),
  event("rules", { partition: 1, partitions: 1, position: null, active: DEFAULTS[0] }),
  event("rules", { partition: 0, partitions: 2, position: null, active: DEFAULTS[0] }),
  event("rules", { partition: 0, partitions: 1e12, position: null, active: DEFAULTS[0] }),
  event("rules", { partition: 0, partitions: 1, position: null, active: {} }),
  event("rules", { partition: 0, partitions: 1, position: null }),
  event("rules", { partition: 0, partitions: 1, position: null, active: { ...DEFAULTS[0], K: "many" } }),
  event("rules", { partition: 0, partitions: 1, position: null, active: { ...DEFAULTS[0], K: true } }),
];

for (const data of BAD) {
  test(`an event that cannot be understood changes nothing: ${data.slice(7, 90)}`, () => {
    assert.throws(() => reader.take(data), BadStreamError);
    assert.deepEqual([reader.state("acme"), reader.state("other")], ["freeze", "active"]);
    assert.deepEqual(names(reader.changed.take()), []);
  });
}

const WRONG = {
  tenant: [7, "a b"],
  state: ["hibernate", "toString"],
  since: ["yesterday", 1.5],
  at: [null],
  cause: [{ why: 1 }, "breaker"],
  claims: [[{}], [7], null],
  parameters: [{ from: DEFAULTS[0], to: DEFAULTS[0], starts_at: 1.5, ends_at: 2 }, null],
  forecast: [null, [null]],
  position: ["0", "0:1:2"],
};

for (const [field, values] of Object.entries(WRONG)) {
  test(`a record that cannot be understood changes nothing: ${field}`, () => {
    const document = record("a staircase", "acme", 90);
    for (const value of values) {
      assert.throws(() => reader.take(event("state", { ...document, [field]: value })), BadStreamError);
    }
    delete document[field];
    assert.throws(() => reader.take(event("state", document)), BadStreamError);
    assert.deepEqual({ ...reader.tenants.at("acme", T).cause }, { kind: "breaker", key: "db@a" });
  });
}

test("a forecast out of order and a missing policy are rubbish", () => {
  const document = record("a staircase", "acme", 90);
  const forecast = document.forecast.toReversed();
  assert.throws(() => reader.take(event("state", { ...document, forecast })), /order/);
  assert.throws(() => reader.take(event("state", { ...document, policy: undefined })), /policy/);
});

const ofTwo = event("rules", { partition: 1, partitions: 2, position: null, active: DEFAULTS[0] });
for (const [data, finding] of [
  [ready(), /no rules/],
  [state("acme"), /before the rules/],
  [ofTwo + ready(), /partition 0/],
  [rules() + ofTwo + ready(), /different numbers/],
]) {
  test(`a snapshot that is not whole does not count: ${finding}`, () => {
    const unready = new Reader();
    assert.throws(() => unready.take(data), { constructor: BadStreamError, message: finding });
    assert.throws(() => unready.state("acme"), NotReady);
  });
}

test("only the partitions of watched tenants need rules", () => {
  const watching = new Reader(["a"]);
  // murmur2 puts `a` on partition 1 of 3 and 0 of 1; of 2 it is 0.
  const of = (partition) => event("rules", { partition, partitions: 3, position: null, active: DEFAULTS[0] });
  assert.throws(() => watching.take(of(0) + ready()), /partition 1/);
  watching.take(of(1) + ready());
  assert.equal(watching.state("a"), "active");
  assert.throws(() => watching.state("other"), NotWatched);
});

test("a server with more partitions gives a snapshot that replaces all", () => {
  assert.throws(() => reader.take(ofTwo), /there were 1 partitions/);
  reader.connect("");
  reader.take(event("rules", { partition: 0, partitions: 2, position: null, active: DEFAULTS[0] }) + ofTwo + ready());
  assert.equal(reader.state("acme"), "active");
});

test("within a snapshot the later position counts", () => {
  const loading = new Reader();
  loading.take(rules() + state("a", record("one breaker", "a", 5)) + state("b") + state("c"));
  loading.take(state("a", record("a staircase", "a", 4)));
  loading.take(event("gone", { tenant: "b", position: "0:41" }) + event("gone", { tenant: "c", position: "0:43" }));
  loading.take(ready());
  assert.deepEqual(["a", "b", "c"].map((tenant) => loading.state(tenant, T + 10_000)), ["freeze", "freeze", "active"]);
});

// What is known

test("before anything is known", () => {
  const unready = new Reader();
  const parameters = { ...DEFAULTS[0], K: 7 };
  const initial = { state: "light", parameters, since: null, cause: null, endsAt: null, stale: false };
  const other = new Reader(null, initial);
  assert.throws(() => unready.state("acme"), NotReady);
  assert.deepEqual(other.tenants.at("acme", T), { ...initial, stale: true });
  for (const each of [unready, other, reader]) {
    for (const wrong of ["", "a b", "acme\n", "x".repeat(129), null, undefined, 7, ["acme"], {}]) {
      assert.throws(() => each.state(wrong), { constructor: TypeError, message: /^tenant/ });
    }
  }
  reader.tenants.forget("the reader was closed");
  assert.throws(() => reader.state("acme"), { name: "NotReady", message: /closed/ });
  assert.ok(new NotReady() instanceof ReaderError && new NotWatched() instanceof Error);
});

test("names of JavaScript's own objects are names of tenants", () => {
  for (const tenant of ["constructor", "__proto__", "toString"]) {
    assert.equal(reader.state(tenant), "active");
    reader.take(state(tenant, record("one breaker", tenant, 50)));
    assert.equal(reader.state(tenant), "freeze");
  }
});

test("a tenant that is not watched is an error, and its state is not kept", () => {
  const watching = new Reader(["acme"]);
  watching.take(snapshot(["acme", "other"]));
  assert.equal(watching.state("acme"), "freeze");
  assert.throws(() => watching.state("other"), NotWatched);
});

test("what callers get cannot be changed, since tenants share it", () => {
  const { parameters, cause } = reader.tenants.at("acme", T);
  for (const each of [reader.tenants.at("acme", T), reader.tenants.at("nobody", T), parameters, cause]) {
    assert.ok(Object.isFrozen(each));
  }
});

test("tenants that are no longer listed are removed a minute later", () => {
  const end = T + 930_000;
  const awake = { state: "active", parameters: DEFAULTS[0], since: null, cause: null, endsAt: null, stale: true };
  const answer = () => structuredClone(reader.tenants.at("acme", end));
  const leaves = () => reader.tenants.leavesAt("acme", new Set(["freeze"]), T);
  assert.deepEqual(answer(), awake);
  reader.take(event("time", { now: end + 59_999 }));
  assert.equal(leaves(), T + 900_000);
  reader.take(event("time", { now: end + 120_000 }));
  assert.equal(leaves(), null);
  assert.deepEqual(answer(), awake);
});

test("when a tenant leaves some states", () => {
  reader.take(state("steps", record("a staircase", "steps", 99)));
  const leaves = (tenant, ...states) => reader.tenants.leavesAt(tenant, new Set(states), T);
  assert.equal(leaves("steps", "freeze"), T + 1_000);
  assert.equal(leaves("steps", "freeze", "deep"), T + 2_500);
  assert.equal(leaves("steps", "freeze", "deep", "light", "active"), null);
  assert.equal(leaves("nobody", "freeze"), null);
  assert.equal(new Reader().tenants.leavesAt("acme", new Set(["freeze"]), T), null);
});

test("what changes is told once", () => {
  reader.take(state("other", record("one breaker", "other", 50)) + state("acme", record("a staircase", "acme", 1)));
  assert.deepEqual(names(reader.changed.take()), ["other"]);
  const gone = event("gone", { tenant: "other", position: "0:50" }) + event("gone", { tenant: "no", position: null });
  reader.take(gone);
  assert.deepEqual(names(reader.changed.take()), ["other"]);
  reader.take(rules());
  assert.deepEqual(names(reader.changed.take()), []);
  reader.take(rules(1));
  assert.equal(reader.changed.take(), null);
  reader.take(event("reset", {}, "") + snapshot([]));
  assert.equal(reader.changed.take(), null);
  assert.deepEqual(names(reader.changed.take()), []);
});

test("many different sets of parameters are not all kept", () => {
  const sets = new ParameterReader();
  const first = sets.set({ ...DEFAULTS[0] });
  assert.equal(sets.set({ ...DEFAULTS[0] }), first);
  for (let K = 0; K < 1_000; K += 1) sets.set({ ...DEFAULTS[0], K: K + 0.25 });
  assert.notEqual(sets.set({ ...DEFAULTS[0] }), first);
  assert.ok(sets.set({ ...DEFAULTS[0] }).equals(first));
});

// Time and tokens

test("the log's time is counted on from the time that took the shortest way", () => {
  const clock = new LogClock();
  clock.learn(T, 10);
  assert.equal(clock.at(10.5), T + 500);
  clock.learn(T + 14_000, 25); // One second late.
  assert.equal(clock.at(25), T + 15_000);
  clock.learn(T + 30_250, 40);
  assert.equal(clock.at(40), T + 30_250);
  for (let number = 0; number < 8; number += 1) clock.learn(T, 50 + number); // A clock of the log that was set back.
  assert.equal(clock.at(50), T);
});

test("when a token ends, as far as its bearer can tell", () => {
  assert.equal(endsAt(token(1_795_334_400.5)), 1_795_334_400_500);
  for (const other of ["opaque", "a.b.c", "a.e30.c", token(1e300), token("1795334400"), token(null), "a.bnVsbA.c"]) {
    assert.equal(endsAt(other), null);
  }
});
