/** The binding for opossum, and the middleware. Both are given what behaves as the real thing does. */

import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { beforeEach, test } from "node:test";

import { NotReady, NotWatched } from "@somabrain/sleep-client";
import { sleepMiddleware } from "@somabrain/sleep-client/express";
import { reportOpossum } from "@somabrain/sleep-client/opossum";
import { DEFAULTS, Lines } from "./support/states.js";

/** A breaker as that of opossum 9 and 10: `open`, `close` and `halfOpen` set the state before they emit. */
class Breaker extends EventEmitter {
  name = "payments";
  enabled = true;
  #state = "closed";

  become(state) {
    this.#state = state;
    this.emit({ closed: "close", open: "open", half_open: "halfOpen" }[state]);
  }

  fire() {
    this.emit("fire", []);
  }

  shutdown() {
    this.emit("shutdown");
    this.enabled = false;
    this.removeAllListeners();
    this.#state = "shutdown";
  }

  get opened() {
    return this.#state === "open";
  }

  get halfOpen() {
    return this.#state === "half_open";
  }

  get closed() {
    return this.#state === "closed";
  }
}

let reports;
let breaker;
const emitter = { report: (...values) => reports.push(values) };
const states = () => reports.map(([, , state]) => state);

beforeEach(() => {
  reports = [];
  breaker = new Breaker();
});

test("each change of a breaker is reported", () => {
  reportOpossum(emitter, breaker, { tenant: "acme" });
  breaker.emit("failure", new RangeError("secret"), 7, []);
  breaker.become("open");
  breaker.become("half_open");
  breaker.fire();
  breaker.emit("failure", Object.assign(new Error("secret"), { code: "ECONNREFUSED" }));
  breaker.become("open");
  breaker.become("half_open");
  breaker.become("closed");
  assert.deepEqual(states(), ["open", "half_open", "open", "half_open", "closed"]);
  assert.deepEqual(reports[0], [
    "acme",
    "payments",
    "open",
    { instance: undefined, cause: "last failure: RangeError" },
  ]);
  assert.equal(reports[2][3].cause, "last failure: ECONNREFUSED");
  assert.equal(reports[4][3].cause, undefined);
});

test("a failure without a type has no text either", () => {
  reportOpossum(emitter, breaker, { tenant: "acme" });
  for (const error of ["secret", Object.assign(new Error("x"), { code: "the secret" }), undefined]) {
    breaker.emit("failure", error);
    breaker.become("open");
    breaker.become("closed");
  }
  assert.deepEqual(reports.filter(([, , state]) => state === "open").map(([, , , { cause }]) => cause), [
    "last failure: string",
    "last failure: Error",
    "last failure: undefined",
  ]);
});

test("an open breaker that is disabled lets calls through, which its next call shows", () => {
  reportOpossum(emitter, breaker, { tenant: "acme" });
  breaker.become("open");
  breaker.enabled = false;
  breaker.fire();
  breaker.fire();
  breaker.become("half_open");
  breaker.enabled = true;
  breaker.fire();
  assert.deepEqual(states(), ["open", "disabled", "half_open"]);
});

test("a breaker that is shut down guards nothing", () => {
  reportOpossum(emitter, breaker, { tenant: "acme" });
  breaker.become("open");
  breaker.shutdown();
  assert.deepEqual(states(), ["open", "disabled"]);
  reportOpossum(emitter, breaker, { tenant: "acme" });
  assert.deepEqual(states(), ["open", "disabled", "disabled"]);
});

test("a breaker that is open already is reported, and the binding can be ended", () => {
  breaker.become("open");
  const end = reportOpossum(emitter, breaker, { tenant: ({ name }) => `${name}-tenant`, instance: "" });
  assert.deepEqual(reports[0].slice(0, 3), ["payments-tenant", "payments", "open"]);
  assert.equal(reports[0][3].instance, "");
  end();
  breaker.become("closed");
  assert.equal(reports.length, 1);
  assert.deepEqual(breaker.eventNames(), []);
});

test("a function of the tenant that throws is an invalid tenant", () => {
  reportOpossum(emitter, breaker, { tenant: () => { throw new RangeError("secret"); } });
  breaker.become("open");
  assert.equal(reports[0][0], "(the function of the tenant threw RangeError)");
});

test("a random name and a missing tenant are said at once", () => {
  breaker.name = "0b7c5f4e-6f0a-4a6e-9a55-1f6d2c3b4a59";
  assert.throws(() => reportOpossum(emitter, breaker, { tenant: "acme" }), /random name; use the option `name`/);
  breaker.name = "payments";
  assert.throws(() => reportOpossum(emitter, breaker, {}), { constructor: TypeError, message: /^tenant/ });
});

// Middleware

const AWAKE = { state: "active", parameters: DEFAULTS[0], since: null, cause: null, endsAt: null, stale: false };

class Response {
  writeHead(status, headers) {
    Object.assign(this, { status, headers });
  }

  end(body) {
    this.body = body;
  }
}

/** Call the middleware for a tenant, and return what it did. */
function call(reader, tenant, options) {
  const log = new Lines();
  const handler = sleepMiddleware(reader, (request) => request.tenant, {
    notReady: "allow",
    noTenant: "allow",
    logger: log,
    ...options,
  });
  const done = [];
  const calls = [1, 2].map(() => {
    const request = { tenant };
    const response = new Response();
    handler(request, response, (error) => done.push(error ?? "next"));
    return { request, response };
  });
  return { ...calls[0], done, log: log.lines.map(([, text]) => text) };
}

const reading = (state, seconds = null) => ({ state: () => state, secondsIn: () => seconds });
const failing = (error) => ({ state: () => { throw error; }, secondsIn: () => null });

test("the state is on the request", () => {
  const { request, done, log } = call(reading({ ...AWAKE, state: "freeze" }), "acme", { deny: ["deep"] });
  assert.equal(request.sleepState.state, "freeze");
  assert.deepEqual([done, log], [["next", "next"], []]);
});

for (const [seconds, retry] of [[null, undefined], [0.2, "1"], [899.1, "900"]]) {
  test(`a tenant that sleeps too deep is denied: ${seconds}`, () => {
    const { response, done } = call(reading({ ...AWAKE, state: "freeze" }, seconds), "acme", { deny: ["freeze"] });
    assert.deepEqual(done, []);
    assert.equal(response.status, 503);
    assert.equal(response.headers["Retry-After"], retry);
    assert.equal(response.headers["Content-Type"], "application/problem+json");
    assert.equal(Number(response.headers["Content-Length"]), Buffer.byteLength(response.body));
    assert.deepEqual(JSON.parse(response.body), {
      type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
      title: "Temporary Reduced Capacity",
      status: 503,
      detail: "Tenant acme is in state freeze. Try again later.",
    });
  });
}

for (const error of [new NotReady("no states yet"), new NotWatched("not in `tenants`")]) {
  test(`what is not known follows the setting: ${error.name}`, () => {
    const allowed = call(failing(error), "acme");
    assert.deepEqual([allowed.request.sleepState, allowed.done], [null, ["next", "next"]]);
    assert.equal(allowed.log.length, 1);
    assert.match(allowed.log[0], /Requests are allowed without a state: not \w+ \(.*\). This is said once.$/);
    const denied = call(failing(error), "acme", { notReady: "deny" });
    assert.deepEqual([denied.response.status, denied.response.headers["Retry-After"], denied.done], [503, "5", []]);
  });
}

for (const tenant of [null, undefined, "a b", 7]) {
  test(`a request without a tenant follows the setting: ${tenant}`, () => {
    const allowed = call(reading(AWAKE), tenant);
    assert.deepEqual([allowed.request.sleepState, allowed.done, allowed.log.length], [null, ["next", "next"], 1]);
    const denied = call(reading(AWAKE), tenant, { noTenant: "deny" });
    assert.deepEqual([denied.response.status, JSON.parse(denied.response.body).status, denied.done], [400, 400, []]);
  });
}

test("an error of the caller's function, or of the reader, goes to `next`", () => {
  const error = new RangeError("defect");
  assert.deepEqual(call(failing(error), "acme").done, [error, error]);
});

for (const [finding, options] of [
  [/^deny/, { deny: "freeze" }],
  [/^deny/, { deny: ["asleep"] }],
  [/^notReady/, { notReady: "maybe" }],
  [/^noTenant/, { noTenant: undefined }],
  [/^"not_ready" is no option/, { not_ready: "deny" }],
  [/^logger/, { logger: {} }],
]) {
  test(`wrong options of the middleware are said at once: ${JSON.stringify(options)}`, () => {
    const all = { notReady: "allow", noTenant: "allow", ...options };
    const wanted = { constructor: TypeError, message: finding };
    assert.throws(() => sleepMiddleware(reading(AWAKE), () => "acme", all), wanted);
  });
}

test("the middleware needs a function of the request", () => {
  const options = { notReady: "allow", noTenant: "allow" };
  assert.throws(() => sleepMiddleware(reading(AWAKE), "x-tenant", options), /^TypeError: tenant/);
});
