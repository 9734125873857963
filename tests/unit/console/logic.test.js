import assert from "node:assert/strict";
import { test } from "node:test";

import { addressOf, fits, parseAddress } from "./pure/address.js";
import { action, asCurl, quoted } from "./pure/commands.js";
import { LiveRows, MOST_SHOWN, MOST_WAITING } from "./pure/live_rows.js";
import { parseMetrics, readersOf } from "./pure/metrics.js";
import { Permissions } from "./pure/permissions.js";
import { differences, draftOf, errorsAt, policyOf } from "./pure/policy.js";
import { parametersAt, present, States } from "./pure/states.js";
import { duration, localTime, parseLocal, toField, utcTime } from "./pure/time.js";
import { stepsOf } from "./pure/timeline.js";
import { windowOf } from "./pure/window.js";
import { causeText, openEnded, remaining, rowSentence, whySentence } from "./pure/words.js";

const NOON = Date.UTC(2026, 10, 22, 11, 0, 0); // 12:00 in Paris
const MIN = 60000;

const ramp = (K, starts = NOON, ends = NOON) => ({ from: { K: 1, t: 1 }, to: { K, t: 0 }, starts_at: starts, ends_at: ends });
const claim = (more = {}) => ({ source: "breaker", key: "payments@pod-1", state: "freeze", breaker_state: "open", since: NOON, expires_at: NOON + 15 * MIN, actor: null, reason: null, ...more });
const record = (tenant, more = {}) => ({ tenant, state: "freeze", decided: "freeze", since: NOON, cause: { kind: "breaker", key: "payments@pod-1" }, claims: [claim()], parameters: ramp(2), forecast: [{ at: NOON + 15 * MIN, state: "active", parameters: ramp(1) }], policy: null, position: "0:5", ...more });
const decided = (kind, more = {}) => ({ kind, without: "active", asked: "freeze", claim: { source: "breaker", key: "payments@pod-1", quorum: null }, floor: null, ceiling: null, held_until: null, unmet_quorums: [], unmatched_breakers: [], ...more });
const mode = (more = {}) => ({ seen: true, state: "freeze", decided: "freeze", enforced: true, since: NOON, now: NOON + MIN, cause: { kind: "breaker", key: "payments@pod-1" }, claims: [claim()], forecast: [{ at: NOON + 15 * MIN, state: "active" }], decided_by: decided("claim"), ...more });
const row = (more = {}) => ({ id: "0:1:0", kind: "transition", tenant: "acme", from: "active", to: "freeze", cause: { kind: "breaker", key: "p@i" }, event_type: "sleep.breaker.v1", actor: null, reason: null, code: null, enforced: true, at: NOON, ...more });

test("times are in the reader's zone, with the day where it is another one", () => {
  assert.equal(localTime(NOON, NOON), "12:00:00");
  assert.equal(localTime(NOON, NOON + 24 * 60 * MIN), "2026-11-22 12:00:00");
  assert.equal(utcTime(NOON), "2026-11-22T11:00:00.000Z");
  assert.equal(utcTime(1e18), "1000000000000000000 ms");
  assert.equal(parseLocal(toField(NOON)), NOON);
  assert.equal(parseLocal(""), null);
  assert.equal(parseLocal("yesterday"), null);
  assert.equal(toField(null), "");
  assert.equal(toField("x"), "");
});

test("a length of time has its two largest units", () => {
  for (const [ms, text] of [[0, "0 s"], [-5, "0 s"], [61000, "1 min 1 s"], [3600000, "1 h"], [90061000, "1 d 1 h"]]) assert.equal(duration(ms), text);
});

test("one sentence says why, and until when", () => {
  assert.equal(whySentence(mode()), "frozen since 12:00:00 because breaker payments@pod-1 is open; wakes at 12:15:00 unless it reports again.");
  assert.match(whySentence(mode({ seen: false })), /^never seen/);
  assert.match(whySentence(mode({ forecast: [] })), /no end is known/);
  assert.match(whySentence(mode({ state: "active", forecast: [], decided_by: decided("nothing", { claim: null }) })), /awake since .* no claim asks for sleep; it stays awake/);
  assert.match(whySentence(mode({ state: "active", enforced: false })), /dry run: it would be frozen/);
  for (const [by, text] of [
    [decided("pin"), /it is pinned/],
    [decided("floor", { floor: "light" }), /floor is light/],
    [decided("ceiling", { ceiling: { of: "rules", state: "deep" } }), /ceiling of the rules is deep/],
    [decided("hold"), /minimum sleep/],
    [decided("nothing", { claim: null, unmet_quorums: [{}] }), /no breaker has its quorum/],
    [decided("claim", { claim: { source: "breaker", key: "p", quorum: { have: 2, need: 2, breaker: "p" } } }), /2 instances of breaker p/],
    [decided("claim", { claim: { source: "mode", key: "mode", quorum: null } }), /the mode asks for it/],
    [decided("later"), /because later/],
  ]) assert.match(whySentence(mode({ decided_by: by })), text);
});

test("causes, rows and ends in words", () => {
  assert.equal(causeText(null), "nothing yet");
  assert.equal(causeText({ kind: "new_kind", key: "x" }), "new_kind x");
  assert.equal(causeText({ kind: "constructor", key: null }), "constructor");
  assert.equal(rowSentence(row()), "active → freeze because of breaker p@i");
  assert.equal(rowSentence(row({ kind: "refusal", code: "ttl_out_of_range", event_type: "sleep.operation.v1", actor: "ops" })), "refused ttl_out_of_range: a sleep was not applied, by ops");
  assert.equal(rowSentence(row({ kind: "outcome", event_type: "else" })), "applied: else");
  assert.equal(remaining(null, NOON), "no end");
  assert.equal(remaining(NOON, NOON), "ended");
  assert.equal(remaining(NOON + 5000, NOON), "ends in 5 s");
  assert.equal(openEnded(record("a")), false);
  assert.equal(openEnded(record("a", { claims: [claim({ expires_at: null })] })), true);
  assert.equal(openEnded(record("a", { claims: [claim({ source: "pin" })] })), true);
});

test("an address is read as it was written, and a wrong one says what is wrong", () => {
  for (const [screen, more] of [["fleet", { filters: { state: "freeze", text: "a&b=c#?%" } }], ["tenant", { tenant: "a:b@c", filters: { at: "5" } }]]) {
    const read = parseAddress(addressOf(screen, more));
    assert.deepEqual([read.screen, read.tenant, read.filters, read.errors], [screen, more.tenant ?? null, more.filters, []]);
  }
  assert.equal(parseAddress("").screen, "");
  for (const wrong of ["#/nothing", "#/constructor", "#/fleet?state=x", "#/fleet?__proto__=x", "#/fleet/x", "#/tenant/", "#/tenant/%", "#/tenant/<b>", "#/audit?to=-1"]) assert.notDeepEqual(parseAddress(wrong).errors, [], wrong);
  assert.equal(addressOf("fleet", { filters: { state: "" } }), "#/fleet");
});

test("filters keep what fits all of them", () => {
  const one = { tenant: "Acme", state: "deep", since: NOON, cause: { kind: "breaker", key: "payments@x" }, text: "acme\nbreaker payments@x" };
  for (const [filters, kept] of [[{}, true], [{ state: "deep" }, true], [{ state: "light" }, false], [{ cause: "pin" }, false], [{ older: "5" }, false], [{ older: "1" }, true], [{ text: "acm" }, true], [{ text: "PAYMENTS" }, true], [{ text: "zz" }, false]]) assert.equal(fits(one, filters, NOON + 2 * MIN), kept, JSON.stringify(filters));
});

test("the window draws what is seen and a little more", () => {
  assert.deepEqual(windowOf({ count: 100000, rowHeight: 40, top: 4000, height: 400, spare: 2 }), { first: 98, drawn: 14, above: 3920, below: (100000 - 112) * 40 });
  assert.equal(windowOf({ count: 3, rowHeight: 40, top: 99999, height: 400 }).drawn, 0);
  assert.equal(windowOf({ count: 0, rowHeight: 40, top: 0, height: 400 }).drawn, 0);
});

test("a reader of states keeps the newest record of each tenant", () => {
  const states = new States();
  states.connect(false);
  states.take("rules", { partition: 0, position: "0:9" });
  assert.equal(states.take("state", record("a")), true);
  assert.equal(states.take("state", record("a", { position: "0:4" })), false);
  states.take("state", record("b", { position: "0:10" }));
  states.take("ready", { now: NOON });
  assert.deepEqual([states.ready, states.serverNow], [true, NOON]);
  assert.equal(states.take("gone", { tenant: "a", position: "0:4" }), false);
  assert.equal(states.take("gone", { tenant: "a", position: "0:6" }), true);
  assert.equal(states.take("gone", { tenant: "a", position: "0:6" }), false);
  states.take("state", record("a", { position: "0:7" }));
  states.lose();
  states.connect(true);
  states.take("reset", {});
  assert.equal(states.ready, false);
  states.take("time", { now: NOON + 1 });
  states.take("ready", { now: NOON + 1 });
  // The snapshot of position 9 lacks `a` of 7, which is gone, and `b` of 10, which is newer than it.
  assert.deepEqual([...states.records.keys()], ["b"]);
  assert.equal(states.take("new", {}), false);
});

test("the present follows the forecast, and a ramp is straight", () => {
  const one = record("a", { parameters: ramp(3, NOON, NOON + 1000) });
  assert.equal(present(one, NOON + 14 * MIN), one);
  assert.equal(present(one, NOON + 15 * MIN).state, "active");
  assert.deepEqual(parametersAt(one.parameters, NOON + 250), { K: 2, t: 0.75 });
  assert.deepEqual(parametersAt(one.parameters, NOON + 1000), { K: 3, t: 0 });
});

test("permissions offer what the policy allows, and nothing else", () => {
  const permissions = new Permissions({ subject: "s", tenant_id: "acme", expires_at: 1, permissions: [{ action: "sleep", own_tenant: true, any_tenant: false, platform: null }, { action: "watch", own_tenant: null, any_tenant: null, platform: true }] });
  assert.deepEqual([permissions.may("sleep", "acme"), permissions.may("sleep", "other"), permissions.may("sleep", null), permissions.may("watch", null), permissions.may("none", "acme")], [true, false, false, true, false]);
  assert.deepEqual(permissions.screens(), ["fleet"]);
});

test("a command is quoted for a shell", () => {
  assert.equal(quoted("a-b"), "a-b");
  assert.equal(quoted("it's $HOME"), `'it'"'"'s $HOME'`);
  const made = action("sleep", "acme", { state: "deep", ttl: 5, reason: "it's" });
  assert.equal(made.sleepctl, `sleepctl send sleep deep --ttl 5 --tenant acme --reason 'it'"'"'s'`);
  assert.match(asCurl(made.request, "http://h"), /^curl -X POST http:\/\/h\/api\/util\/sleep -H "Authorization: Bearer \$SLEEP_TOKEN" -H 'X-Tenant-Id: acme'/);
  assert.deepEqual(action("pin", "acme", { state: "active", ttl: 5 }).request.body, { target_state: "active", ttl_seconds: 5, override: true });
  assert.deepEqual(action("mode", "acme", { state: "light", ttl: null }).request.body, { target_state: "light" });
  assert.equal(action("cancel", "acme", { id: "x y" }).request.path, "/api/util/sleep/x%20y");
});

test("a policy goes through its form unchanged, and a wrong number reaches the server", () => {
  const policy = { floor: "active", ceiling: "freeze", enforce: true, min_sleep_seconds: 0, max_ttl_seconds: 3600, ramp_seconds: { deepen: 0, wake: 30 }, breakers: [{ match: "*", open: "freeze", half_open: "light", quorum: 1, lease_seconds: 900 }], schedule: null };
  assert.deepEqual(policyOf(draftOf(policy)), policy);
  assert.deepEqual(policyOf({ ...draftOf(policy), schedule_text: '{"a": 1}' }).schedule, { a: 1 });
  assert.throws(() => policyOf({ ...draftOf(policy), schedule_text: "{" }), SyntaxError);
  assert.equal(policyOf({ ...draftOf(policy), max_ttl_seconds: "many" }).max_ttl_seconds, "many");
  assert.equal(policyOf({ ...draftOf(policy), max_ttl_seconds: " " }).max_ttl_seconds, undefined);
  assert.deepEqual(differences(policy, { ...policy, ceiling: "deep", ramp_seconds: { deepen: 0, wake: 5 } }), [["ceiling", "freeze", "deep"], ["ramp_seconds.wake", 30, 5]]);
  assert.deepEqual(errorsAt([{ field: "policy.breakers.0.quorum", reason: "no" }], "breakers.0.quorum"), ["no"]);
  assert.deepEqual(errorsAt([{ field: "floor", reason: "no" }], "floors"), []);
});

test("the live screen keeps what comes while it is paused, within bounds", () => {
  const rows = new LiveRows();
  rows.add(row());
  rows.add(row());
  rows.pause(true);
  for (let i = 0; i < MOST_WAITING + 3; i += 1) rows.add(row({ id: `1:${i}:0` }));
  assert.deepEqual([rows.shown.length, rows.waiting.length, rows.dropped], [1, MOST_WAITING, 3]);
  rows.pause(false);
  assert.deepEqual([rows.shown.length, rows.shown[0].id, rows.waiting.length], [MOST_SHOWN, `1:${MOST_WAITING + 2}:0`, 0]);
  rows.reset({ reason: "expired" });
  assert.equal(rows.gap, "expired");
});

test("the timeline has past, now and forecast in order", () => {
  const steps = stepsOf(mode(), [row({ at: NOON })], NOON + MIN);
  assert.deepEqual(steps.map((step) => [step.kind, step.state]), [["edge", "active"], ["past", "freeze"], ["now", "freeze"], ["forecast", "active"], ["edge", "active"]]);
  assert.ok(steps.every((step, index) => index === 0 || step.at >= steps[index - 1].at));
});

test("metrics are read", () => {
  const samples = parseMetrics('# HELP x\nsleep_api_streams 3.0\nother{a="b"} 1\n');
  assert.equal(readersOf(samples), 3);
  assert.equal(readersOf([]), null);
});
