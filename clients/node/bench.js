/**
 * Prints how long `state` and `report` take, and what a reader of 100,000 listed tenants needs. Nothing is sent.
 *
 * `node --expose-gc bench.js`; without the option the memory includes garbage.
 */

import { readFileSync } from "node:fs";

import { Emitter, SleepReader } from "./src/index.js";

const TENANTS = 100_000;
const CALLS = 200_000;
const file = new URL("../../schemas/json/reader.vectors.json", import.meta.url);
const { records } = JSON.parse(readFileSync(file, "utf8"));
const { record, default: active } = records.find(({ name }) => name === "one breaker; policy: rules");
const event = (name, data) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const name = (number) => `tenant-${number}`;

/** Yield a snapshot in chunks of some tenants. */
function* snapshot() {
  yield event("rules", { partition: 0, partitions: 1, number: 0, position: null, active });
  for (let number = 0; number < TENANTS; number += 20) {
    let text = "";
    for (let each = number; each < number + 20; each += 1) {
      text += event("state", { ...record, tenant: name(each), position: `0:${each}` });
    }
    yield text;
  }
  yield event("ready", { now: record.at });
}

async function fetch(_, { method, body }) {
  if (method === "POST") return new Promise(() => {});
  const texts = snapshot();
  const encoder = new TextEncoder();
  const stream = new ReadableStream({
    pull(controller) {
      const { value } = texts.next();
      if (value !== undefined) controller.enqueue(encoder.encode(value));
      else return new Promise(() => {});
    },
  });
  return new Response(stream, { headers: { "content-type": "text/event-stream" } });
}

/** Call a function many times, and print the duration of one call with the clock read around it. */
function measure(what, call) {
  const times = new Float64Array(CALLS);
  for (let number = 0; number < CALLS; number += 1) {
    const before = process.hrtime.bigint();
    call(number);
    times[number] = Number(process.hrtime.bigint() - before);
  }
  times.sort();
  const at = (share) => (times[Math.floor(CALLS * share)] / 1000).toFixed(2);
  console.log(`${what}: median ${at(0.5)} µs, 99 of 100 within ${at(0.99)} µs`);
}

const memory = () => {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  return { heap: heapUsed / 2 ** 20, resident: rss / 2 ** 20 };
};

const before = memory();
const began = process.cpuUsage();
const reader = new SleepReader("http://127.0.0.1:1", "token", { fetch });
await reader.waitReady(300);
const { user, system } = process.cpuUsage(began);
console.log(`a snapshot of ${TENANTS} tenants: ${((user + system) / 1e6).toFixed(1)} s of processor time`);
let names = Array.from({ length: CALLS }, () => name(Math.floor(Math.random() * TENANTS)));
measure("no call", () => {});
measure("state, any listed tenant, some for the first time", (number) => reader.state(names[number]));
measure("state, any listed tenant", (number) => reader.state(names[number]));
measure("state, one listed tenant", () => reader.state("tenant-7"));
measure("state, a tenant that is not listed", () => reader.state("nobody"));
names = [];
const after = memory();
const more = (kind) => (after[kind] - before[kind]).toFixed(0);
console.log(`memory beyond that of the start: ${more("heap")} MiB of heap in use, ${more("resident")} MiB resident`);

const emitter = new Emitter("http://127.0.0.1:1", "token", { fetch });
await new Promise((resolve) => setTimeout(resolve, 10));
const states = ["open", "closed"];
measure("report, each one a change", (number) => emitter.report("acme", "payments", states[number % 2]));
measure("report, the same state again", () => emitter.report("acme", "payments", "open"));
process.exit();
