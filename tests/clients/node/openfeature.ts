// The provider for OpenFeature with the official SDK: values, errors, and the events of each status.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { OpenFeature, ProviderEvents, ProviderStatus } from "@openfeature/server-sdk";
import { SleepProvider, type SleepProviderOptions } from "@somabrain/sleep-client/openfeature";

const SECONDS = 60;
const vectors = JSON.parse(readFileSync(process.env.VECTORS ?? "", "utf8"));
const found = vectors.records.find((each: { name: string }) => each.name === "one breaker; policy: rules");
const event = (name: string, data: object) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
const rules = event("rules", { partition: 0, partitions: 1, number: 0, position: null, active: found.default });
const state = event("state", { ...found.record, position: "0:42" });
const gone = event("gone", { tenant: found.record.tenant, position: "0:90" });
const ready = event("ready", { now: found.record.at });
const ACME = { targetingKey: found.record.tenant as string };
const OTHER = { targetingKey: "other" };

let refuses = true;
let snapshot = rules + state + ready;
let stream: ServerResponse | undefined;
const server = createServer((_, response) => {
  if (refuses) {
    response.writeHead(401, { "content-type": "application/problem+json" });
    response.end(JSON.stringify({ code: "unauthenticated" }));
    return;
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(snapshot);
  stream = response;
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const logger = { info() {}, warn() {}, error() {} };
OpenFeature.setLogger({ ...logger, debug() {} });
const provider = (options: SleepProviderOptions = {}) => new SleepProvider(url, "token", { logger, ...options });
const client = OpenFeature.getClient();

let seen: string[] = [];
for (const each of Object.values(ProviderEvents)) OpenFeature.addHandler(each as ProviderEvents, () => seen.push(each));

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + SECONDS * 1000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, String(seen));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// A refusal is an error at the start, which says what to do.
await assert.rejects(OpenFeature.setProviderAndWait(provider()), /check the token/);
assert.equal(client.providerStatus, ProviderStatus.ERROR);
assert.equal((await client.getStringDetails("sleep.state", "?", ACME)).errorCode, "PROVIDER_NOT_READY");
const initial = { state: "deep", parameters: { K: 5 } } as unknown as NonNullable<SleepProviderOptions["initial"]>;
await assert.rejects(OpenFeature.setProviderAndWait(provider({ waitSeconds: 0, initial })));
assert.equal(await client.getNumberValue("sleep.K", -1, ACME), 5);
assert.equal((await client.getNumberDetails("sleep.B", -1, ACME)).errorCode, "FLAG_NOT_FOUND");
await assert.rejects(OpenFeature.setProviderAndWait(provider({ whenStale: "never" as "hold" })), /whenStale/);
assert.throws(() => provider({ onChange() {} } as SleepProviderOptions), /onChange/);

// Values are those of the tenant.
refuses = false;
seen = [];
await OpenFeature.setProviderAndWait(provider({ tenants: new Set([ACME.targetingKey, "other"]).values() }));
assert.deepEqual([client.providerStatus, client.metadata.providerMetadata.name], ["READY", "Somabrain Sleep"]);
const details = await client.getStringDetails("sleep.state", "?", ACME);
assert.deepEqual([details.value, details.variant, details.reason], ["freeze", "freeze", "TARGETING_MATCH"]);
assert.deepEqual([details.flagMetadata.state, details.flagMetadata.stale], ["freeze", false]);
assert.equal(typeof details.flagMetadata.ends_at, "number");
assert.equal(await client.getStringValue("sleep.state", "?", OTHER), "active");
for (const name of ["K", "t", "tau", "eta", "lambda", "B"]) {
  assert.equal(await client.getNumberValue(`sleep.${name}`, -1, OTHER), found.default[name]);
}

// Each error gives the default and a code.
const errors = await Promise.all([
  client.getStringDetails("sleep.state", "?"),
  client.getStringDetails("sleep.state", "?", { targetingKey: "" }),
  client.getStringDetails("sleep.other", "?", ACME),
  client.getStringDetails("sleep.K", "?", ACME),
  client.getNumberDetails("sleep.state", -1, ACME),
  client.getBooleanDetails("sleep.state", false, ACME),
  client.getObjectDetails("sleep.state", {}, ACME),
  client.getStringDetails("sleep.state", "?", { targetingKey: "third" }),
  client.getStringDetails("sleep.state", "?", { targetingKey: "no name" }),
]);
const MISMATCH = "TYPE_MISMATCH";
const codes = ["TARGETING_KEY_MISSING", "TARGETING_KEY_MISSING", "FLAG_NOT_FOUND", MISMATCH, MISMATCH, MISMATCH, MISMATCH];
assert.deepEqual(errors.map((each) => each.errorCode), [...codes, "INVALID_CONTEXT", "INVALID_CONTEXT"]);
assert.deepEqual(errors.map((each) => each.value), ["?", "?", "?", "?", -1, false, {}, "?", "?"]);

// Events follow the status: READY once, changes, STALE as soon as the stream is lost, READY again.
const { Ready, Stale, Error: Failed, ConfigurationChanged } = ProviderEvents;
await until(() => seen.length === 1);
stream?.write(gone);
await until(() => seen.length === 2);
assert.equal(await client.getStringValue("sleep.state", "?", ACME), "active");
snapshot = rules + state.replace("0:42", "0:91") + ready;
stream?.destroy();
await until(() => seen.includes(Stale));
assert.equal((await client.getStringDetails("sleep.state", "?", ACME)).reason, "STALE");
await until(() => seen.filter((each) => each === Ready).length === 2 && seen.at(-1) === ConfigurationChanged);
assert.deepEqual(seen, [Ready, ConfigurationChanged, Stale, ConfigurationChanged, Ready, ConfigurationChanged]);
assert.equal(await client.getStringValue("sleep.state", "?", ACME), "freeze");

// A stream that is lost for too long is an error; the forecasts still answer.
const first = stream;
await OpenFeature.setProviderAndWait(provider({ maxStaleSeconds: 0 }));
await until(() => first?.destroyed === true);
seen = [];
refuses = true;
stream?.destroy();
await until(() => seen.includes(Failed));
assert.equal(client.providerStatus, ProviderStatus.ERROR);
assert.equal(await client.getStringValue("sleep.state", "?", ACME), "freeze");

// A provider that was closed knows nothing.
const closed = provider();
await closed.onClose();
await assert.rejects(closed.resolveStringEvaluation("sleep.state", "?", ACME), /not initialised, or was closed/);
await OpenFeature.close();
server.close();
server.closeAllConnections();
console.log("openfeature done");
