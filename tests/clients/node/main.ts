// A service of one tenant that reports and obeys: a real opossum breaker, and a real Express behind the middleware.
import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";

import { Emitter, SleepReader, type TenantState } from "@somabrain/sleep-client";
import { sleepMiddleware } from "@somabrain/sleep-client/express";
import { reportOpossum } from "@somabrain/sleep-client/opossum";
import express, { type Request } from "express";
import CircuitBreaker from "opossum";

const SECONDS = 120;
const url = process.env.SLEEP_URL ?? "";
const token = process.env.SLEEP_TOKEN ?? "";
const emitter = new Emitter(url, token, { instance: "pod-1" });
const reader = new SleepReader(url, async () => token, { tenants: ["acme"] });
await reader.waitReady(SECONDS);

const pay = async (): Promise<never> => {
  throw new RangeError("secret");
};
const breaker = new CircuitBreaker(pay, { name: "payments", volumeThreshold: 2, resetTimeout: 600_000 });
reportOpossum(emitter, breaker, { tenant: "acme" });

const app = express();
const tenant = (request: Request) => request.get("X-Verified-Tenant");
app.use(sleepMiddleware(reader, tenant, { deny: ["freeze"], notReady: "deny", noTenant: "deny" }));
app.get("/work", (request, response) => {
  const { sleepState } = request as Request & { sleepState: TenantState };
  response.json({ state: sleepState.state });
});
const server = app.listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));
const { port } = server.address() as AddressInfo;

const get = (name: string) => fetch(`http://127.0.0.1:${port}/work`, { headers: { "X-Verified-Tenant": name } });

/** Wait until the service answers with a status, and return the answer. */
async function until(status: number): Promise<Response> {
  const deadline = performance.now() + SECONDS * 1000;
  for (;;) {
    const answer = await get("acme");
    if (answer.status === status) return answer;
    await answer.arrayBuffer();
    assert.ok(performance.now() < deadline, `still ${answer.status}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

assert.deepEqual(await (await until(200)).json(), { state: "active" });
assert.equal((await get("a b")).status, 400);

const began = performance.now();
for (let call = 0; call < 2; call += 1) await assert.rejects(breaker.fire());
const denied = await until(503);
const took = performance.now() - began;
assert.equal(denied.headers.get("content-type"), "application/problem+json");
const retry = Number(denied.headers.get("retry-after"));
assert.ok(retry > 800 && retry <= 900, String(retry));
const problem = (await denied.json()) as { type: string };
assert.equal(problem.type, "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
assert.deepEqual(reader.state("acme").cause, { kind: "breaker", key: "payments@pod-1" });

breaker.close();
await until(200);
breaker.open();
await until(503);
breaker.shutdown();
await until(200);
assert.equal(await emitter.close({ timeoutSeconds: SECONDS }), true);
assert.deepEqual(emitter.dropped, {});
await reader.close();
server.close();
server.closeAllConnections();
console.log(`node frozen ${took.toFixed(0)} ms after the first failed call`);
