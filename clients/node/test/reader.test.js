/** The reader: its arguments, its stream, and what it says. The server has no sockets, and no time passes. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { NotReady, NotWatched, ReaderStatus, SleepReader } from "@somabrain/sleep-client";
import { DEFAULTS, Lines, StatesServer, T, event, ready, record, rules } from "./support/states.js";
import { snapshot, state, token, until } from "./support/states.js";
import { Time } from "./support/time.js";

const URL = "https://sleep.example/base/";
const { NOT_READY, READY, STALE, ERROR } = ReaderStatus;

let server;
let time;
let log;
let opened;

beforeEach(() => {
  server = new StatesServer();
  time = new Time();
  log = new Lines();
  opened = [];
});

afterEach(async () => {
  await Promise.all(opened.map((reader) => reader.close()));
  mock.timers.reset();
});

function open(bearer = "secret-token", options = {}) {
  const reader = new SleepReader(URL, bearer, { logger: log, fetch: server.fetch, ...options }, time.machine);
  opened.push(reader);
  return reader;
}

/** Let time pass until something is true, a tenth of a second at a time. */
async function after(condition) {
  await until(() => {
    if (!condition()) time.advance(0.1);
    return condition();
  });
}

async function openReady(bearer, options, tenants = ["acme"]) {
  const reader = open(bearer, options);
  const stream = await server.next();
  stream.send(snapshot(tenants));
  await reader.waitReady();
  return { reader, stream };
}

test("open, wait, ask", async () => {
  const reader = open();
  assert.equal(reader.status, NOT_READY);
  assert.throws(() => reader.state("acme"), { name: "NotReady", message: /no states yet/ });
  const stream = await server.next();
  assert.equal(stream.url.href, "https://sleep.example/base/api/states/events");
  assert.equal(stream.headers.authorization, "Bearer secret-token");
  assert.equal(stream.headers["accept-encoding"], "identity");
  assert.equal(stream.headers["last-event-id"], undefined);
  assert.equal(stream.redirect, "manual", "a redirect would take the token elsewhere");
  const waiting = reader.waitReady();
  stream.send(snapshot(["acme"]));
  await waiting;
  const answer = reader.state("acme");
  assert.deepEqual([answer.state, answer.parameters.K, answer.stale], ["freeze", 1, false]);
  assert.deepEqual([answer.since, answer.cause.key, answer.endsAt], [T, "db@a", T + 900_000]);
  assert.equal(reader.state("other").state, "active");
  assert.equal(reader.secondsIn("acme", ["freeze"]), 900);
  time.advance(10.5);
  assert.equal(reader.secondsIn("acme", new Set(["freeze"])), 889.5);
  assert.equal(reader.secondsIn("other", ["freeze"]), null);
});

test("a lost stream is opened again from its last id, and the log has a line for each change", async () => {
  const { reader, stream } = await openReady();
  stream.break(new Error("reset; the header was Bearer secret-token"));
  await until(() => reader.status === STALE);
  assert.deepEqual([reader.state("acme").state, reader.state("acme").stale], ["freeze", true]);
  assert.equal(server.streams.length, 1);
  await after(() => server.streams.length === 2);
  assert.ok(time.now >= 100.5 && time.now < 100.7, String(time.now));
  const again = await server.next();
  assert.equal(again.headers["last-event-id"], "7");
  again.send(rules() + event("gone", { tenant: "acme", position: "0:50" }) + ready(T, "8"));
  await reader.waitReady();
  assert.equal(reader.state("acme"), reader.state("other"));
  again.send("event: state\ndata: rubbish\n\n");
  await until(() => reader.status === STALE);
  assert.ok(again.closed);
  await after(() => server.streams.length === 3);
  (await server.next()).end();
  await after(() => server.streams.length === 4);
  assert.equal((await server.next()).headers["last-event-id"], "8");
  assert.deepEqual(log.lines.map(([level]) => level), ["info", "warn", "info", "warn"]);
  const text = JSON.stringify(log.lines);
  assert.ok(text.includes("[token]") && !text.includes("secret-token"));
  assert.match(text, /the data of an event \\+"state\\+" is no JSON; is it a server of another version/);
});

test("after a reset that was lost before its snapshot, the next connection begins anew", async () => {
  const { reader, stream } = await openReady();
  stream.end();
  await after(() => server.streams.length === 2);
  const again = await server.next();
  assert.equal(again.headers["last-event-id"], "7");
  again.send(event("reset", { reason: "too_old", detail: "" }, ""));
  again.end();
  await after(() => server.streams.length === 3);
  assert.equal((await server.next()).headers["last-event-id"], undefined);
  assert.equal(reader.state("acme").state, "freeze");
});

test("while the stream is lost, forecasts go on", async () => {
  const { reader, stream } = await openReady(undefined, { maxStaleSeconds: 10_000 });
  server.fetch = () => Promise.reject(new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED") }));
  stream.end();
  await until(() => reader.status === STALE);
  time.now += 899;
  assert.equal(reader.state("acme").state, "freeze");
  time.now += 1.001;
  assert.deepEqual([reader.state("acme").state, reader.state("acme").cause.kind], ["active", "expired"]);
  time.now += 30;
  assert.deepEqual(reader.state("acme"), { ...reader.state("nobody"), stale: true });
  assert.equal(reader.status, STALE);
});

for (const [whenStale, expected] of [["hold", "freeze"], ["wake", "active"]]) {
  test(`stale for too long is an error, and then ${whenStale} decides`, async () => {
    const statuses = [];
    const { reader, stream } = await openReady(undefined, {
      whenStale,
      maxStaleSeconds: 5,
      onChange: ({ status }) => statuses.push(status),
    });
    const { fetch } = server;
    for (let number = 0; number < 20; number += 1) server.refuse(503, { code: "redis_unavailable" });
    stream.end();
    await after(() => reader.status === ERROR);
    assert.ok(time.now >= 105 && time.now < 105.5, String(time.now));
    const { state: name, stale, parameters } = reader.state("acme");
    assert.deepEqual([name, stale], [expected, true]);
    assert.equal(parameters.K, expected === "active" ? DEFAULTS[0].K : 1);
    assert.match(log.lines.at(-1)[1], /has given no states for 5 s: HTTP 503: redis_unavailable/);
    server.answers.length = 0;
    server.fetch = fetch;
    await after(() => server.streams.length === 2);
    (await server.next()).send(rules() + ready(T + 10_000));
    await until(() => reader.status === READY);
    assert.deepEqual([reader.state("acme").state, reader.state("acme").stale], ["freeze", false]);
    assert.deepEqual(statuses, [READY, STALE, ERROR, READY]);
  });
}

test("a second stream takes over before the first is closed", async () => {
  const given = [token(T / 1000 + 60, "first"), token(T / 1000 + 4_000, "second")];
  const statuses = [];
  const { reader, stream: first } = await openReady(() => given.shift(), {
    onChange: ({ status }) => statuses.push(status),
  });
  time.advance(30);
  first.send(event("time", { now: T + 30_000 }, "9"));
  await after(() => server.streams.length === 2);
  // Half a quarter of the minute before its end.
  assert.ok(time.now >= 152.5 && time.now < 152.7, String(time.now));
  const second = await server.next();
  assert.notEqual(second.headers.authorization, first.headers.authorization);
  assert.equal(second.headers["last-event-id"], "9");
  assert.ok(!first.closed);
  second.send(rules() + state("other", record("one breaker", "other", 50)) + ready(T + 53_000, "10"));
  await until(() => first.closed);
  assert.deepEqual([reader.state("other").state, reader.status], ["freeze", READY]);
  assert.deepEqual([...new Set(statuses)], [READY]);
});

test("a renewal that fails leaves the old stream open", async () => {
  let tokens = 0;
  const { reader, stream } = await openReady(() => {
    tokens += 1;
    if (tokens === 2) throw new Error("secret");
    return token(T / 1000 + 400, `token-${tokens}`);
  });
  time.now += 380;
  stream.send(event("time", { now: T + 380_000 }));
  await after(() => tokens === 3);
  assert.equal(reader.status, READY);
  assert.ok(!stream.closed);
  assert.match(log.lines.at(-1)[1], /no stream for a new token: there is no usable token \(Error\)/);
  assert.ok(!JSON.stringify(log.lines).includes("secret"));
});

for (const [status, document, finding] of [
  [403, { code: "forbidden", detail: "watch" }, /forbidden: watch; the token needs the scope sleep:read-any/],
  [401, { code: "unauthenticated" }, /HTTP 401: unauthenticated; check the token/],
  [404, {}, /check the URL; a server of Somabrain Sleep that is too old/],
  [302, {}, /HTTP 302; check the URL/],
  [200, {}, /HTTP 200; check the URL/],
]) {
  test(`a refusal ends the wait at once: ${status}`, async () => {
    server.refuse(status, document, { "content-type": "application/problem+json" });
    const reader = open();
    await assert.rejects(reader.waitReady(), { name: "NotReady", message: finding });
    assert.equal(reader.status, ERROR);
    assert.throws(() => reader.state("acme"), finding);
    assert.equal(log.lines.length, 1);
    assert.equal(log.lines[0][0], "error");
    await assert.rejects(reader.waitReady(), NotReady);
  });
}

test("an answer that shows the token puts it into no error and no line", async () => {
  server.refuse(400, { detail: "headers: Bearer secret-token" }, {});
  const reader = open();
  await assert.rejects(reader.waitReady(), ({ message }) => /Bearer \[token\]/.test(message));
  assert.throws(() => reader.state("acme"), ({ message }) => !message.includes("secret-token"));
  assert.ok(!JSON.stringify(log.lines).includes("secret-token"));
});

test("a proxy that compresses is named", async () => {
  const headers = { "content-type": "text/event-stream", "content-encoding": "gzip" };
  server.answers.push(() => new Response("", { status: 200, headers }));
  await assert.rejects(open().waitReady(), /a proxy compresses the stream/);
});

test("a server of another version is said at the start", async () => {
  const reader = open();
  (await server.next()).send(rules() + event("state", { ...record("one breaker"), state: "hibernate" }));
  await assert.rejects(reader.waitReady(), /"hibernate" is no state that this client knows; is it a server of another/);
});

test("a token that has just ended is not an error of a person", async () => {
  const { reader, stream } = await openReady();
  server.refuse(401, {});
  stream.end();
  await after(() => server.requests === 2);
  await after(() => server.streams.length === 2);
  assert.equal(reader.status, STALE);
  assert.ok(time.now < 102, String(time.now));
});

test("a token that is refused again is an error", async () => {
  const { reader, stream } = await openReady();
  for (const each of [401, 401]) server.refuse(each, {});
  stream.end();
  await after(() => reader.status === ERROR);
  assert.equal(reader.state("acme").state, "freeze");
  assert.equal(server.requests, 3);
});

test("a server that is busy is asked again when it says", async () => {
  server.refuse(503, { code: "overloaded" }, { "retry-after": "20" });
  const reader = open();
  await after(() => server.streams.length === 1);
  assert.ok(time.now >= 120 && time.now < 120.5, String(time.now));
  assert.equal(reader.status, NOT_READY);
  assert.match(log.lines[0][1], /gives no states yet: HTTP 503: overloaded. Trying again/);
});

test("a wait has an end, and its text says what is missing", async () => {
  const reader = open();
  await server.next();
  const waiting = reader.waitReady(3);
  time.advance(3);
  await assert.rejects(waiting, /not ready within 3 s: no answer has come yet/);
});

test("a close ends a wait, a function of the token that hangs, and all that is known", async () => {
  const reader = open(() => new Promise(() => {}));
  await until(() => true);
  const waiting = assert.rejects(reader.waitReady(), /the reader was closed/);
  await reader.close();
  await waiting;
  await reader.close();
  assert.throws(() => reader.state("acme"), /the reader was closed/);
  assert.deepEqual([reader.status, log.lines.length, server.requests], [NOT_READY, 0, 0]);
});

test("a close ends the stream without a line", async () => {
  const { reader, stream } = await openReady();
  await reader.close();
  assert.ok(stream.closed);
  assert.throws(() => reader.state("acme"), { message: "the reader was closed" });
  assert.deepEqual(log.lines.map(([level]) => level), ["info"]);
  await assert.rejects(reader.waitReady(), /closed/);
});

test("a function of the token has a bound", async () => {
  let called = 0;
  open(() => {
    called += 1;
    return new Promise(() => {});
  });
  await until(() => called === 1);
  time.advance(10);
  await until(() => log.lines.length === 1);
  assert.match(log.lines[0][1], /the function of the token took more than 10 s/);
});

test("what a function of the token returns is checked", async () => {
  const given = [7, "Bearer x", "", new RangeError("secret"), Promise.resolve("right-token")];
  const reader = open(() => {
    const next = given.shift();
    return next instanceof Error ? Promise.reject(next) : next;
  });
  await after(() => server.streams.length === 1);
  assert.equal(server.streams[0].headers.authorization, "Bearer right-token");
  assert.ok(!JSON.stringify(log.lines).includes("secret"));
  assert.equal(reader.status, NOT_READY);
});

test("a stream that is silent is dropped", async () => {
  const { reader } = await openReady();
  for (let beat = 0; beat < 3; beat += 1) time.advance(13);
  time.advance(2);
  await until(() => reader.status === STALE);
  assert.match(log.lines.at(-1)[1], /nothing came for 40 s/);
});

test("a stream without the log's time is dropped", async () => {
  const { reader, stream } = await openReady();
  time.now += 61;
  stream.send(":\n\n");
  await until(() => reader.status === STALE);
  assert.match(log.lines.at(-1)[1], /the log's time does not come/);
});

test("a snapshot that does not end is dropped", async () => {
  open();
  const stream = await server.next();
  stream.send(rules());
  await until(() => true);
  time.now += 121;
  stream.send(state("acme"));
  await until(() => log.lines.length === 1);
  assert.match(log.lines[0][1], /the end of the snapshot does not come/);
});

test("some tenants", async () => {
  const { reader, stream } = await openReady(undefined, { tenants: ["globex", "acme", "acme"] });
  assert.equal(stream.url.searchParams.get("tenants"), "acme,globex");
  assert.equal(reader.state("globex").state, "active");
  assert.throws(() => reader.state("other"), NotWatched);
});

test("`initial` is the answer until the first states", async () => {
  const initial = { state: "light", parameters: { ...DEFAULTS[0], K: 60 } };
  const reader = open(undefined, { initial });
  assert.deepEqual(reader.state("acme"), { ...initial, since: null, cause: null, endsAt: null, stale: true });
  (await server.next()).send(snapshot(["acme"]));
  await reader.waitReady();
  assert.equal(reader.state("acme").state, "freeze");
  await reader.close();
  assert.throws(() => reader.state("acme"), NotReady);
});

test("changes are told, and an error in their function is survived", async () => {
  const changes = [];
  const { stream } = await openReady(undefined, {
    onChange: (change) => {
      changes.push(change);
      if (changes.length === 1) throw new RangeError("secret");
      return Promise.reject(new TypeError("secret"));
    },
  }, []);
  stream.send(state("acme"));
  await until(() => changes.length === 2 && log.lines.length === 3);
  assert.deepEqual(changes, [{ status: READY, tenants: null }, { status: READY, tenants: new Set(["acme"]) }]);
  assert.deepEqual(log.lines.slice(1).map(([, text]) => text), [
    "sleep-client: onChange threw RangeError",
    "sleep-client: onChange threw TypeError",
  ]);
});

test("a defect of the library is an outage, and a logger that throws changes nothing", async () => {
  server.answers.push(() => ({ status: 200 }));
  const logger = { info() {}, warn: (text) => { log.warn(text); throw new Error("no disk"); }, error() {} };
  const reader = open(undefined, { logger });
  await after(() => server.streams.length === 1);
  (await server.next()).send(snapshot([]));
  await reader.waitReady();
  assert.match(log.lines[0][1], /gives no states yet/);
});

for (const [finding, url, bearer, options] of [
  [/^url: it must start/, "ftp://x"],
  [/^url: it has no valid host/, "sleep.example"],
  [/^url: it must have no user/, "https://a:secret@sleep.example"],
  [/^url: it must have nothing after/, "https://sleep.example/?token=secret"],
  [/^token: give the token alone/, URL, "Bearer secret"],
  [/^token: it is empty/, URL, ""],
  [/^token: it is empty/, URL, "secret\n"],
  [/^token: it must be a string/, URL, 7],
  [/^tenants: use a list/, URL, "t", { tenants: "acme" }],
  [/^tenants: use a list/, URL, "t", { tenants: 7 }],
  [/^tenants: use 1 to 200/, URL, "t", { tenants: [] }],
  [/^tenants: use 1 to 200/, URL, "t", { tenants: Array.from({ length: 201 }, (_, number) => `t${number}`) }],
  [/^tenant "a b"/, URL, "t", { tenants: ["a b"] }],
  [/^initial/, URL, "t", { initial: "active" }],
  [/^initial/, URL, "t", { initial: { state: "asleep", parameters: {} } }],
  [/^maxStaleSeconds/, URL, "t", { maxStaleSeconds: -1 }],
  [/^maxStaleSeconds/, URL, "t", { maxStaleSeconds: NaN }],
  [/^whenStale/, URL, "t", { whenStale: "panic" }],
  [/^onChange/, URL, "t", { onChange: 7 }],
  [/^logger/, URL, "t", { logger: {} }],
  [/^"max_stale_seconds" is no option/, URL, "t", { max_stale_seconds: 7 }],
]) {
  test(`wrong arguments are said at once: ${finding} ${JSON.stringify(options ?? bearer ?? url).slice(0, 60)}`, () => {
    assert.throws(
      () => new SleepReader(url, bearer ?? "token", { fetch: server.fetch, ...options }),
      (error) => error instanceof TypeError && finding.test(error.message) && !error.message.includes("secret"),
    );
  });
}
