/** The reader gives the answers of the vectors, which are those of the API's own functions. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { NotReady } from "../src/reading/errors.js";
import { Changed, Intake } from "../src/reading/intake.js";
import { Listed } from "../src/reading/listed.js";
import { LogClock } from "../src/reading/log-clock.js";
import { ParameterReader } from "../src/reading/parameters.js";
import { partitionOf } from "../src/reading/partitions.js";
import { readRecord } from "../src/reading/record.js";
import { tenantState } from "../src/reading/tenant-state.js";
import { Tenants } from "../src/reading/tenants.js";
import { VECTORS } from "./support/states.js";

/** The local clock stands still between two events; the vectors name the log's time. */
const MOMENT = 100;

/** Return an answer in the form of the vectors. */
function shown({ state, parameters, since, cause, endsAt }) {
  return { state, parameters: { ...parameters }, since, cause: cause && { ...cause }, ends_at: endsAt };
}

test("there are enough cases", () => {
  const answers = VECTORS.records.flatMap((each) => each.answers).length;
  const asked = VECTORS.streams.flatMap(({ steps }) => steps).filter((step) => "ask" in step).length;
  assert.ok(answers >= 500 && asked >= 60 && VECTORS.partitions.length >= 100);
});

test("the partition of a name is that of Kafka's own partitioner", () => {
  for (const { tenant, partitions, partition } of VECTORS.partitions) {
    assert.equal(partitionOf(tenant, partitions), partition, tenant);
  }
});

for (const { name, record: document, default: fallback, answers } of VECTORS.records) {
  test(`record: ${name}`, () => {
    const sets = new ParameterReader();
    const set = sets.set(fallback);
    const record = readRecord(document, sets);
    const listed = new Listed(record.position.offset, record.phases, set, record.ownPolicy);
    // Twice, forwards and backwards: what is remembered changes nothing.
    for (const { at, answer } of [...answers, ...answers.toReversed()]) {
      const unlisted = tenantState("active", set.shown, null, null, null, false);
      assert.deepEqual(shown(at < listed.until ? listed.at(at, false) : unlisted), answer, String(at));
    }
  });
}

for (const { name, steps } of VECTORS.streams) {
  test(`stream: ${name}`, () => {
    const parts = [new Tenants(null, null), new LogClock(), new ParameterReader(), new Changed()];
    const [tenants] = parts;
    let intake;
    for (const { connect, event, id, data, ask, at, answer } of steps) {
      if (connect !== undefined) intake = new Intake(...parts, connect);
      else if (event !== undefined) intake.take({ name: event, data: JSON.stringify(data), id }, MOMENT);
      else if (answer === null) assert.throws(() => tenants.at(ask, at), NotReady);
      else assert.deepEqual(shown(tenants.at(ask, at)), answer, `${ask} at ${at}`);
    }
  });
}
