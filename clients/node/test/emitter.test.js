/** The emitter: what it sends and when. The API has no sockets, and no time passes. */

import assert from "node:assert/strict";
import { hostname } from "node:os";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Emitter, Status } from "@somabrain/sleep-client";
import { Api } from "./support/api.js";
import { Lines, until } from "./support/states.js";
import { Time } from "./support/time.js";

const URL = "https://sleep.example/base/";
let api;
let time;
let log;

beforeEach(() => {
  api = new Api();
  time = new Time();
  log = new Lines();
});

afterEach(() => mock.timers.reset());

function open(options = {}, token = "secret-token") {
  return new Emitter(URL, token, { instance: "pod-1", logger: log, fetch: api.fetch, ...options }, time.machine);
}

/** Return an emitter whose first request, which has no events, was accepted. */
async function openReady(options, token) {
  const emitter = open(options, token);
  assert.deepEqual((await api.next()).events, []);
  await until(() => emitter.status === Status.READY);
  return emitter;
}

async function after(condition, step = 0.1) {
  await until(() => {
    if (!condition()) time.advance(step);
    return condition();
  });
}

const turns = async (count = 20) => {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

// Sending

test("a report is sent as a CloudEvent", async () => {
  const emitter = await openReady();
  emitter.report("acme", "payments", "OPEN", { cause: "5 of 10 calls\ntimed out" });
  assert.equal(api.seen.length, 0, "nothing is sent in the caller's time");
  const { url, headers, events } = await api.next();
  assert.equal(url, "https://sleep.example/base/api/breakers/events");
  assert.equal(headers.authorization, "Bearer secret-token");
  assert.equal(headers["content-type"], "application/cloudevents-batch+json");
  const [{ id, ...event }] = events;
  assert.match(id, /^[0-9a-f]{8}-1$/);
  assert.deepEqual(event, {
    specversion: "1.0",
    source: "urn:sleep-client:pod-1",
    type: "sleep.breaker.v1",
    subject: "acme",
    data: {
      breaker: "payments",
      instance: "pod-1",
      state: "open",
      library: "somabrain-sleep-client",
      occurred_at: api.date,
      cause: "5 of 10 calls timed out",
    },
  });
  assert.deepEqual(log.lines, [["info", "sleep-client: Reports reach https://sleep.example/base."]]);
});

test("reports of one turn share a request, and those of a request under way the next", async () => {
  const emitter = await openReady();
  api.held = [];
  emitter.report("acme", "a", "open");
  emitter.report("acme", "b", "halfOpen");
  assert.deepEqual(await api.states(), ["open", "half_open"]);
  emitter.report("acme", "a", "half-open");
  emitter.report("acme", "c", "open");
  emitter.report("acme", "c", "closed");
  emitter.report("acme", "d", "FORCED_OPEN", { instance: "" });
  await turns();
  assert.equal(api.seen.length, 0);
  api.held.shift()();
  const { events } = await api.next();
  assert.deepEqual(events.map(({ data }) => [data.breaker, data.state, data.instance]), [
    ["a", "half_open", "pod-1"],
    ["c", "closed", "pod-1"],
    ["d", "forced_open", ""],
  ]);
  assert.deepEqual(emitter.dropped, { replaced: 1 });
});

test("the same state again costs no request", async () => {
  const emitter = await openReady();
  emitter.report("acme", "payments", "open");
  await api.next();
  await turns();
  emitter.report("acme", "payments", "open");
  await turns();
  assert.equal(api.seen.length, 0);
});

test("a batch has at most 200 events and 64 KiB", async () => {
  const emitter = await openReady();
  for (let number = 0; number < 450; number += 1) emitter.report("acme", `b${number}`, "open");
  for (const count of [200, 200, 50]) assert.equal((await api.next()).events.length, count);
  await turns();
  for (let number = 0; number < 200; number += 1) {
    emitter.report("acme", `${"ü".repeat(190)}${number}`, "open", { cause: "ä".repeat(300) });
  }
  let sum = 0;
  while (sum < 200) {
    const { events } = await api.next();
    assert.ok(events.length < 100 && Buffer.byteLength(JSON.stringify(events)) <= 65_536);
    sum += events.length;
  }
});

test("what means sleep is repeated with the time of the first event, and the rest is not", async () => {
  const emitter = await openReady({ repeatSeconds: 300 });
  emitter.report("acme", "a", "open");
  emitter.report("acme", "b", "closed");
  emitter.report("acme", "c", "disabled");
  const [first] = (await api.next()).events;
  await turns();
  api.date += 300_000;
  await after(() => api.seen.length > 0, 1);
  assert.ok(time.now >= 400 && time.now <= 402, String(time.now));
  const { events } = await api.next();
  assert.equal(events.length, 1);
  assert.equal(events[0].data.occurred_at, first.data.occurred_at);
  assert.notEqual(events[0].id, first.id);
});

// Time

test("time follows the server's `Date`, and only grows for a breaker", async () => {
  const emitter = await openReady();
  time.now += 5;
  emitter.report("acme", "a", "open");
  const { events: [one] } = await api.next();
  assert.equal(one.data.occurred_at, api.date + 5_000);
  await turns();
  api.date -= 3_600_000; // The server's clock was set back, but the log takes no event that is older than the last one.
  time.now += 1;
  emitter.report("acme", "b", "open");
  await api.next();
  await turns();
  emitter.report("acme", "a", "closed");
  const { events: [two] } = await api.next();
  assert.equal(two.data.occurred_at, api.date);
  api.date += 3_600_000;
});

test("a server's clock that goes back a little gives no earlier stamp for a breaker", async () => {
  const emitter = await openReady();
  emitter.report("acme", "a", "open");
  const [{ data: { occurred_at: before } }] = (await api.next()).events;
  await turns();
  api.date -= 10_000;
  emitter.report("acme", "b", "open");
  await api.next();
  await turns();
  emitter.report("acme", "a", "closed");
  assert.equal((await api.next()).events[0].data.occurred_at, before + 1);
});

test("without a `Date` events have no time", async () => {
  api.date = null;
  const emitter = await openReady();
  emitter.report("acme", "a", "open");
  assert.ok(!("occurred_at" in (await api.next()).events[0].data));
});

// Outages

test("while the server is away, the last state is kept", async () => {
  const emitter = await openReady();
  const cause = Object.assign(new Error("connect failed"), { code: "ECONNREFUSED" });
  api.fail(new TypeError("fetch failed", { cause }));
  emitter.report("acme", "a", "open");
  const [{ id }] = (await api.next()).events;
  await until(() => emitter.status === Status.AWAY);
  assert.match(log.lines.at(-1)[1], /takes no reports now: ECONNREFUSED: connect failed. Trying again/);
  emitter.report("acme", "b", "open");
  emitter.report("acme", "b", "closed");
  emitter.report("acme", "a", "half_open");
  await turns();
  assert.equal(api.seen.length, 0);
  await after(() => api.seen.length > 0);
  assert.ok(time.now >= 100.5 && time.now < 100.7, String(time.now));
  const { events } = await api.next();
  assert.deepEqual(events.map(({ data }) => [data.breaker, data.state]), [["a", "half_open"], ["b", "closed"]]);
  assert.notEqual(events[0].id, id);
  await until(() => emitter.status === Status.READY);
  assert.deepEqual(emitter.dropped, { replaced: 1 });
});

test("a retry sends the same event", async () => {
  const emitter = await openReady();
  api.refuse(503, { code: "kafka_unavailable" });
  emitter.report("acme", "a", "open");
  const first = await api.next();
  await until(() => emitter.status === Status.AWAY);
  await after(() => api.seen.length > 0);
  assert.deepEqual((await api.next()).events, first.events);
  await until(() => emitter.status === Status.READY);
});

test("an answer that does not come has a bound", async () => {
  const emitter = await openReady();
  api.held = [];
  emitter.report("acme", "a", "open");
  await api.next();
  time.advance(10);
  await until(() => emitter.status === Status.AWAY);
  assert.match(log.lines.at(-1)[1], /no answer within 10.0 s/);
});

test("waits grow, and follow `Retry-After`", async () => {
  for (let number = 0; number < 4; number += 1) api.refuse(503);
  api.refuse(503, {}, { "retry-after": "40" });
  const emitter = open();
  const at = [];
  for (let number = 0; number < 6; number += 1) {
    await after(() => api.seen.length > 0);
    at.push(time.now);
    await api.next();
    await turns();
  }
  const waits = at.slice(1).map((each, index) => Math.round(each - at[index]));
  assert.deepEqual(waits.slice(1), [1, 2, 4, 40]);
  assert.equal(emitter.status, Status.READY);
});

test("memory is bounded", async () => {
  const emitter = await openReady();
  api.fail(new Error("away"));
  for (let number = 0; number < 10_001; number += 1) emitter.report("acme", `b${number}`, "open");
  assert.deepEqual(emitter.dropped, { full: 1 });
  emitter.report("acme", "b7", "closed");
  assert.deepEqual(emitter.dropped, { full: 1, replaced: 1 });
  await turns();
  assert.ok(log.lines.some(([, text]) => /A report was dropped \(full\): too many/.test(text)));
});

test("settled breakers make room for new ones", async () => {
  const emitter = await openReady();
  for (let number = 0; number < 10_000; number += 1) emitter.report("acme", `b${number}`, "closed");
  for (let number = 0; number < 50; number += 1) await api.next();
  await turns();
  emitter.report("acme", "new", "open");
  assert.deepEqual(await api.states(), ["open"]);
  assert.deepEqual(emitter.dropped, {});
});

// Refusals

for (const [status, document, finding] of [
  [403, { code: "forbidden" }, /refuses reports: HTTP 403: forbidden; the token needs the scope sleep:emit/],
  [404, {}, /HTTP 404; check the URL/],
  [202, {}, /HTTP 202; check the URL/],
]) {
  test(`what only a person can change is said at the start: ${status}`, async () => {
    api.refuse(status, document);
    const emitter = open();
    await api.next();
    await until(() => emitter.status === Status.REFUSED);
    assert.equal(log.lines.length, 1);
    assert.equal(log.lines[0][0], "error");
    assert.match(log.lines[0][1], finding);
    await after(() => api.seen.length > 0, 1);
    assert.ok(time.now >= 160 && time.now <= 162, String(time.now));
    await until(() => emitter.status === Status.READY);
  });
}

test("a token that has just ended is tried again soon", async () => {
  const tokens = ["old-token", "new-token"];
  api.refuse(401);
  const emitter = open({}, () => tokens.shift());
  await api.next();
  await after(() => api.seen.length > 0);
  assert.equal((await api.next()).headers.authorization, "Bearer new-token");
  assert.ok(time.now < 101);
  await until(() => emitter.status === Status.READY);
});

test("a function of the token that fails is an outage", async () => {
  const given = [new RangeError("secret"), 7, "right-token"];
  const emitter = open({}, async () => {
    const next = given.shift();
    if (next instanceof Error) throw next;
    return next;
  });
  await after(() => emitter.status === Status.READY);
  assert.match(log.lines[0][1], /there is no usable token \(RangeError\)/);
  assert.ok(!JSON.stringify(log.lines).includes("secret"));
});

test("an invalid event is dropped, and the rest of its batch is sent", async () => {
  const emitter = await openReady();
  api.refuse(422, { code: "invalid", errors: [{ field: "[1].data.state" }, { field: "[9]" }, { field: "x" }, null] });
  for (const name of ["a", "b", "c"]) emitter.report("acme", name, "open");
  await api.next();
  assert.deepEqual((await api.next()).events.map(({ data }) => data.breaker), ["a", "c"]);
  assert.deepEqual(emitter.dropped, { refused: 1 });
  await turns();
  assert.match(log.lines.at(-1)[1], /A report was dropped \(refused\): HTTP 422: invalid/);
});

test("halves of a batch find what is invalid if the server names nothing", async () => {
  const emitter = await openReady();
  const bad = (events) =>
    events.some(({ data }) => data.breaker === "c") ? api.problem(400, {}) : api.accept(events);
  for (let number = 0; number < 9; number += 1) api.answers.push(bad);
  for (const name of ["a", "b", "c", "d"]) emitter.report("acme", name, "open");
  const batches = [];
  for (let number = 0; number < 5; number += 1) {
    batches.push((await api.next()).events.map(({ data }) => data.breaker).join(""));
  }
  assert.deepEqual(batches, ["abcd", "ab", "cd", "c", "d"]);
  assert.deepEqual(emitter.dropped, { refused: 1 });
});

test("a tenant that is refused waits alone", async () => {
  const emitter = await openReady();
  for (let number = 0; number < 2; number += 1) api.refuse(403, { code: "forbidden" });
  emitter.report("other", "a", "open");
  emitter.report("acme", "a", "open");
  for (const count of [2, 1]) assert.equal((await api.next()).events.length, count);
  assert.equal((await api.next()).events[0].subject, "acme");
  await turns();
  assert.match(log.lines.at(-1)[1], /Reports of tenant other wait for 600 s: HTTP 403: forbidden/);
  assert.equal(emitter.status, Status.READY);
  await after(() => api.seen.length > 0, 5);
  assert.ok(time.now > 398, "the repeat of the other tenant comes first");
  await after(() => api.seen.some(({ events }) => events.some(({ subject }) => subject === "other")), 5);
  assert.ok(time.now >= 700 && time.now < 710, String(time.now));
});

test("a tenant above its limit waits as the server says", async () => {
  const emitter = await openReady();
  api.refuse(429, { "violated-policies": ["emit"] }, { "retry-after": "7" });
  emitter.report("acme", "a", "open");
  await api.next();
  await after(() => api.seen.length > 0);
  assert.ok(time.now >= 107 && time.now < 107.5, String(time.now));
  assert.equal(emitter.status, Status.READY);
});

// The caller's path

test("nothing is thrown into the caller's path", async () => {
  const emitter = await openReady();
  const hostile = { toString: () => { throw new RangeError("secret"); } };
  for (const [tenant, breaker, state, options] of [
    ["a b", "payments", "open"],
    [undefined, "payments", "open"],
    [Symbol("x"), "payments", "open"],
    ["acme", "", "open"],
    ["acme", "a@b", "open"],
    ["acme", "x".repeat(201), "open"],
    ["acme", "\ud800", "open"],
    ["acme", hostile, "open"],
    ["acme", "payments", "ajar"],
    ["acme", "payments", 7],
    ["acme", "payments", "open", { instance: "a\nb" }],
    ["acme", "payments", "open", { instance: 7 }],
  ]) {
    assert.equal(emitter.report(tenant, breaker, state, options), undefined);
  }
  assert.deepEqual(emitter.dropped, { invalid: 12 });
  emitter.report("acme", "payments", "open", { cause: hostile });
  emitter.report("acme", "payments", "open", null);
  emitter.report("acme", "emoji", "open", { cause: "😀".repeat(300) });
  emitter.report("acme", "😀".repeat(200), "open", { cause: "\u0000" });
  assert.deepEqual(emitter.dropped, { invalid: 12, failed: 1 });
  const causes = (await api.next()).events.map(({ data }) => data.cause);
  assert.deepEqual(causes, [undefined, "😀".repeat(256), " "]);
  const lines = log.lines.filter(([level]) => level === "warn").map(([, text]) => text);
  assert.equal(lines.length, 2);
  assert.match(lines[0], /dropped \(invalid\): tenant "a b": use 1 to 128 of/);
  assert.match(lines[1], /dropped \(failed\): RangeError/);
});

test("the default instance names host and process", async () => {
  const emitter = await openReady({ instance: undefined });
  emitter.report("acme", "a", "open");
  assert.equal((await api.next()).events[0].data.instance, `${hostname()}:${process.pid}`);
});

// The end

test("a close releases what the server may hold", async () => {
  const emitter = await openReady();
  for (const name of ["a", "b"]) emitter.report("acme", name, "open");
  await api.next();
  await turns();
  emitter.report("acme", "b", "closed");
  emitter.report("acme", "c", "open");
  assert.equal(await emitter.close(), true);
  const { events } = await api.next();
  assert.deepEqual(events.map(({ data }) => [data.breaker, data.state, data.cause]), [
    ["b", "closed", undefined],
    ["a", "closed", "the emitter was closed"],
  ]);
  assert.equal(emitter.status, Status.CLOSED);
  emitter.report("acme", "d", "open");
  assert.deepEqual(emitter.dropped, { closed: 1 });
  assert.equal(await emitter.close(), true);
});

test("without a release it sends what waits", async () => {
  const emitter = await openReady();
  emitter.report("acme", "a", "open");
  assert.equal(await emitter.close({ release: false }), true);
  assert.deepEqual(await api.states(), ["open"]);
});

test("a close has a bound, also while a request is under way", async () => {
  const emitter = await openReady();
  api.held = [];
  emitter.report("acme", "a", "open");
  await api.next();
  const closing = emitter.close({ timeoutSeconds: 2 });
  await turns();
  time.advance(2);
  assert.equal(await closing, false);
  assert.equal(emitter.dropped.closed, 1);
  assert.match(log.lines.at(-1)[1], /closed before 1 reports reached https:\/\/sleep.example\/base. Leases end/);
});

test("a close while the server is away tries again soon", async () => {
  const emitter = await openReady();
  for (let number = 0; number < 3; number += 1) api.fail(new Error("away"));
  emitter.report("acme", "a", "open");
  await api.next();
  await until(() => emitter.status === Status.AWAY);
  let delivered = null;
  void emitter.close({ release: false }).then((value) => {
    delivered = value;
  });
  await after(() => delivered !== null);
  assert.equal(delivered, true);
  assert.ok(time.now < 102, String(time.now));
});

for (const [finding, token, options] of [
  [/^token/, "Bearer x"],
  [/^repeatSeconds: use 1 to 2592000, not 0/, "t", { repeatSeconds: 0 }],
  [/^repeatSeconds/, "t", { repeatSeconds: "60" }],
  [/^instance/, "t", { instance: "a\nb" }],
  [/^"repeat_seconds" is no option/, "t", { repeat_seconds: 60 }],
]) {
  test(`wrong arguments are said at once: ${finding}`, () => {
    assert.throws(() => new Emitter(URL, token, options), { constructor: TypeError, message: finding });
  });
}
