// Reads flags of a gate with the official OFREP provider for the web, which asks for all flags of a tenant at once.
// Arguments: the address of the gate, and a tenant that wakes. Prints a line once the tenant sleeps.
import assert from "node:assert/strict";

import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, ProviderEvents, ProviderStatus } from "@openfeature/web-sdk";

const SECONDS = 120;
const [, , baseUrl, tenant] = process.argv;
const statuses = [];
const fetchImplementation = async (...request) => {
  const answer = await fetch(...request);
  statuses.push(answer.status);
  return answer;
};
const changes = [];
OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, ({ flagsChanged }) => changes.push(flagsChanged));

async function until(condition) {
  const deadline = performance.now() + SECONDS * 1000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, `${statuses} ${changes}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

await OpenFeature.setContext({ targetingKey: tenant });
await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl, pollInterval: 50, fetchImplementation }));
const client = OpenFeature.getClient();
const state = () => client.getStringDetails("sleep.state", "?");
assert.equal(client.providerStatus, ProviderStatus.READY);
assert.deepEqual([state().value, state().variant, state().reason], ["active", "active", "TARGETING_MATCH"]);
assert.ok(client.getNumberValue("sleep.K", -1) > 0);
for (const name of ["t", "tau", "eta", "lambda", "B"]) assert.ok(client.getNumberValue(`sleep.${name}`, -1) >= 0);
assert.equal(client.getStringDetails("sleep.other", "?").errorCode, "FLAG_NOT_FOUND");
assert.equal(client.getBooleanDetails("sleep.state", false).errorCode, "TYPE_MISMATCH");

// Nothing has changed: 304, and the flags stay.
await until(() => statuses.filter((each) => each === 304).length > 2);
assert.deepEqual([statuses.filter((each) => each === 200).length, state().value], [1, "active"]);

console.log("awake");
await until(() => state().value !== "active");
assert.equal(state().value, "freeze");
await until(() => changes.flat().includes("sleep.state"));
const before = statuses.length;
await until(() => statuses.slice(before).includes(304));

// Each tenant has flags, and a tag, of its own.
await OpenFeature.setContext({ targetingKey: "awake" });
assert.equal(state().value, "active");
await OpenFeature.close();
console.log("done");
