/** What touches the machine: the clock, errors of requests, bodies, and lines of the log. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Answer } from "../src/protocol/answer.js";
import { shown } from "../src/protocol/names.js";
import { MACHINE, suspendClock } from "../src/runtime/clock.js";
import { NoAnswerError, noAnswer, readBody } from "../src/runtime/http.js";
import { STANDARD_LOGGER, write } from "../src/runtime/log.js";
import { Lines } from "./support/states.js";

test("the clock counts while the machine is suspended, and only then takes another one for right", () => {
  let fast = 100;
  let slow = 5_000;
  const clock = suspendClock(() => fast, () => slow);
  assert.equal(clock(), 100);
  fast += 10;
  slow += 10.3; // What is read in hundredths of a second, or between two other things.
  assert.equal(clock(), 110);
  fast += 0.05;
  slow += 3_600.05; // Compared ten times a second only.
  assert.equal(clock(), 110.05);
  fast += 0.1;
  slow += 0.1;
  assert.ok(Math.abs(clock() - 3_710.45) < 0.001, String(clock()));
  fast += 1;
  slow += 1;
  assert.ok(Math.abs(clock() - 3_711.45) < 0.001, String(clock()));
});

test("the clock of this machine goes on", () => {
  const before = MACHINE.clock();
  assert.ok(MACHINE.clock() >= before);
});

test("an error of `fetch` says what is behind it", () => {
  const hidden = (message, code) =>
    new TypeError("fetch failed", { cause: Object.assign(new Error(message), { code }) });
  for (const [error, text] of [
    [hidden("connect ECONNREFUSED 127.0.0.1:1", "ECONNREFUSED"), "ECONNREFUSED: connect ECONNREFUSED 127.0.0.1:1"],
    [hidden("", "ECONNREFUSED"), "ECONNREFUSED"],
    [hidden("other side closed", undefined), "Error: other side closed"],
    [new RangeError("x"), "RangeError: x"],
    [new NoAnswerError("late"), "late"],
    ["rubbish", "the request failed"],
  ]) {
    assert.equal(noAnswer(error).message, text);
  }
});

test("of a body 64 KiB are read", async () => {
  const body = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(40_000).fill(120)) });
  assert.equal((await readBody(new Response(body))).length, 65_536);
  assert.equal(await readBody(new Response(null)), "");
});

test("an answer says what is readable in it", () => {
  const answer = (headers, body) => new Answer(503, new Map(Object.entries(headers)), body);
  assert.equal(answer({ date: "Mon, 30 Nov 2026 00:00:00 GMT" }, "").date, Date.UTC(2026, 10, 30) / 1000);
  for (const headers of [{}, { date: "soon" }]) assert.equal(answer(headers, "").date, null);
  for (const body of ["", "[1]", "null", "7", "{"]) assert.deepEqual(answer({}, body).document, {});
  assert.equal(answer({}, JSON.stringify({ code: 7, detail: "a\u0000\nb\u202e" })).finding, "HTTP 503: a b\u202e");
  assert.equal(answer({}, JSON.stringify({ detail: "x".repeat(999) })).finding.length, 300);
  for (const value of ["-1", "1.5", "Mon, 30 Nov 2026 00:00:00 GMT", ""]) {
    assert.equal(answer({ "retry-after": value }, "").retryAfter, null);
  }
});

test("lines have no token, unless it is too short to be one", () => {
  const log = new Lines();
  write(log, [{ level: "warn", text: "Bearer abcdefgh" }, { level: "error", text: "b is in it" }], "abcdefgh");
  write(log, [{ level: "info", text: "a b c" }], "b");
  assert.deepEqual(log.lines, [
    ["warn", "sleep-client: Bearer [token]"],
    ["error", "sleep-client: b is in it"],
    ["info", "sleep-client: a b c"],
  ]);
});

test("by default warnings and errors go to stderr", (context) => {
  const lines = [];
  for (const level of ["info", "log", "warn", "error"]) {
    context.mock.method(console, level, (text) => lines.push([level, text]));
  }
  for (const level of ["info", "warn", "error"]) STANDARD_LOGGER[level](level);
  assert.deepEqual(lines, [["warn", "warn"], ["error", "error"]]);
});

test("a value is shown short, and never as an object", () => {
  const values = ["x".repeat(200), null, undefined, 7, true, 10n, {}, Symbol("secret"), () => {}];
  assert.deepEqual(values.map((value) => shown(value, 10)), [
    '"xxxxxxxxxx"', "null", "undefined", "7", "true", "10", "of type object", "of type symbol", "of type function",
  ]);
});
