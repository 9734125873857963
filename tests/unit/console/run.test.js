import assert from "node:assert/strict";
import { test } from "node:test";

import { operationIdOf } from "./io/operation_id.js";
import { issuerSentence, silentRefusal } from "./pure/issuer_words.js";
import { AT_ONCE, ATTEMPTS, LOOK_UP_AFTER_MS, MassRun, MOST_REFUSED, MOST_SILENT, MOST_WAITS, RUN_NAME } from "./pure/mass_run.js";

const OK = { status: 200, document: {} };

/** An API that answers by a function, and a clock that only waiting moves. */
function world(count, answers, { lookUp = () => OK, perSecond = 100 } = {}) {
  const seen = { sent: [], lookedUp: [], waited: 0, most: 0, at: 1000, now: 0 };
  const tenants = Array.from({ length: count }, (_, i) => `t${i}`);
  const run = new MassRun(
    { name: "r", subject: "ops", title: "x", tenants, perSecond },
    {
      send: async (tenant) => {
        seen.sent.push(tenant);
        seen.now += 1;
        seen.most = Math.max(seen.most, seen.now);
        await Promise.resolve();
        seen.now -= 1;
        return answers(tenant, seen, run);
      },
      lookUp: async (tenant) => (seen.lookedUp.push(tenant), lookUp(tenant)),
      now: () => seen.at,
      pause: async (ms) => ((seen.at += ms), (seen.waited += ms)),
      random: () => 0,
    },
  );
  return { run, seen };
}

test("each tenant gets one command, a few at a time and at a pace", async () => {
  const { run, seen } = world(20, () => OK);
  await run.go();
  assert.deepEqual([run.done, run.refused, run.left, run.running, run.problem], [20, 0, 0, false, ""]);
  assert.equal(new Set(seen.sent).size, 20);
  assert.ok(seen.most > 1 && seen.most <= AT_ONCE);
  assert.ok(seen.at - 1000 >= 190, `${seen.at}`);
});

test("a run that is stopped goes on with those without an answer", async () => {
  const { run, seen } = world(50, (_, state, it) => (state.sent.length === 10 && it.stop(), OK));
  await run.go();
  assert.ok(run.left > 0 && run.left < 50);
  const before = [...seen.sent];
  await run.go();
  assert.equal(run.left, 0);
  assert.deepEqual([...seen.sent].sort(), [...new Set(seen.sent)].sort(), "no answered command is sent again");
  assert.equal(seen.sent.length, 50);
  assert.ok(before.length < 50);
});

test("it waits where the API says so, and tries again where there is no answer", async () => {
  let first = true;
  const { run, seen } = world(1, (_, state) => (state.sent.length === 1 ? { status: 429, document: {}, retryAfter: 7 } : first ? ((first = false), { status: 0, document: {} }) : OK));
  await run.go();
  assert.deepEqual([run.done, seen.sent.length], [1, 3]);
  assert.ok(seen.waited >= 7250);
});

test("a budget or an API that never answers leaves the tenant without an answer", async () => {
  for (const [answer, sent] of [[{ status: 503, document: {} }, ATTEMPTS * 2], [{ status: 429, document: {}, retryAfter: 1 }, MOST_WAITS * 2 + 2]]) {
    const { run, seen } = world(1, () => answer);
    await run.go();
    assert.deepEqual([run.left, seen.sent.length], [1, sent]);
    assert.match(run.problem, /1 tenants have no answer/);
  }
});

test("it stops where going on is useless", async () => {
  const unknown = world(500, () => ({ status: 401, document: { detail: "expired" } }));
  await unknown.run.go();
  assert.match(unknown.run.problem, /does not accept the token: expired/);
  assert.ok(unknown.seen.sent.length <= AT_ONCE);
  const refused = world(500, () => ({ status: 422, document: { code: "ttl_out_of_range", detail: "too long" } }));
  await refused.run.go();
  assert.match(refused.run.problem, /The first 20 tenants were all refused, the last one \(t\d+\) with ttl_out_of_range: too long/);
  assert.ok(refused.run.refused <= MOST_REFUSED + AT_ONCE);
  assert.equal(refused.run.refusals.length, 10);
  const silent = world(500, () => ({ status: 0, document: {} }));
  await silent.run.go();
  assert.match(silent.run.problem, /gives no answer/);
  assert.ok(silent.seen.sent.length <= ATTEMPTS * (MOST_SILENT + AT_ONCE));
});

test("a refusal counts once, and one that is too late for good is no lack of an answer", async () => {
  const { run } = world(3, (tenant) => (tenant === "t1" ? { status: 503, document: { code: "too_late" } } : OK));
  await run.go();
  assert.deepEqual([run.done, run.refused, run.refusals[0].code], [2, 1, "too_late"]);
});

test("a command of long ago is looked up before it is sent again", async () => {
  for (const [found, again, done] of [
    [{ status: 200, document: { status: "completed", code: null } }, 0, 1],
    [{ status: 200, document: { status: "accepted", code: "outcome_unknown" } }, 1, 1],
    [{ status: 404, document: {} }, 1, 1],
    [{ status: 403, document: { detail: "no" } }, 0, 0],
  ]) {
    let answer = { status: 202, document: {} };
    const { run, seen } = world(1, () => answer, { lookUp: () => found });
    await run.go();
    assert.equal(run.left, 1);
    const before = seen.sent.length;
    answer = OK;
    seen.at += LOOK_UP_AFTER_MS;
    await run.go();
    assert.deepEqual([seen.lookedUp.length > 0, seen.sent.length - before, run.done], [true, again, done]);
  }
});

test("the id of a command is that of the API", async () => {
  assert.equal(await operationIdOf("acme", "ops", "run:night"), process.env.OPERATION_ID);
});

test("names of runs", () => {
  for (const [name, fits] of [["a", true], ["night-1.b_c", true], ["-a", false], ["a b", false], ["a".repeat(65), false]]) assert.equal(RUN_NAME.test(name), fits, name);
});

test("what an issuer answers in words", () => {
  const said = (error) => issuerSentence("https://i", "console", error);
  assert.match(said({ error: "access_denied", error_description: "<b>" }), /did not allow the sign-in\. It says: <b>$/);
  assert.match(said({ error: "constructor" }), /it answered constructor\.$/);
  assert.match(said({ error: "login_required" }), /see you first/);
  assert.match(said(new TypeError("Failed to fetch")), /did not answer/);
  assert.match(said(new Error("overloaded", { cause: new Response("", { status: 503 }) })), /answered HTTP 503\. Try again later/);
  assert.match(said(new Error("unexpected iss")), /is not accepted: unexpected iss/);
  assert.deepEqual([silentRefusal({ error: "consent_required" }), silentRefusal({ error: "access_denied" }), silentRefusal(null)], [true, false, false]);
});
