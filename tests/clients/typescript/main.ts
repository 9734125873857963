// Starts a sleep and reads it, with openapi-fetch over the types that openapi-typescript makes.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type PolicyDocument = components["schemas"]["PolicyDocument"];

const client = createClient<paths>({
  baseUrl: process.env["SLEEP_URL"]!,
  headers: { Authorization: `Bearer ${process.env["SLEEP_TOKEN"]}` },
});

function check(holds: boolean, shown: unknown): asserts holds {
  if (!holds) {
    throw new Error(JSON.stringify(shown));
  }
}

// What may be absent is optional: this compiles.
const started = await client.POST("/api/util/sleep", { body: { target_state: "deep", ttl_seconds: 60 } });
check(started.data !== undefined, started.error);
const params = { path: { operation_id: started.data.operation_id } };
const found = await client.GET("/api/util/sleep/{operation_id}", { params });
check(found.data !== undefined && found.data.expires_at !== null, found);
check(found.data.status === "running" && found.data.expires_at - found.data.created_at === 60_000, found);
const mode = await client.GET("/api/brain/sleep_mode");
check(mode.data?.state === "deep" && mode.data.cause?.kind === "operation", mode);

const policy: PolicyDocument = { floor: "active", breakers: [{ match: "*" }] };
const preview = await client.POST("/api/brain/sleep_policy/preview", { body: policy });
check(preview.data?.after.state === "deep", preview);

const refused = await client.GET("/api/util/sleep/{operation_id}", { params: { path: { operation_id: "nobody" } } });
check(refused.error?.code === "unknown_operation", refused);
console.log("typescript", found.data.operation_id);
