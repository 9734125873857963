/** The flags of OpenFeature, from the state of a tenant. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { KEYS, flagOf } from "../src/flags.js";

const PARAMETERS = { K: 100, t: 0.5, tau: 1, eta: 0.25, lambda: 2, B: 64 };
const AWAKE = { state: "active", parameters: PARAMETERS, since: null, cause: null, endsAt: null, stale: false };

test("each key has the value of its tenant, and its state as variant", () => {
  const values = KEYS.map((key) => flagOf(key, AWAKE).value);
  assert.deepEqual(values, ["active", 100, 0.5, 1, 0.25, 2, 64]);
  assert.deepEqual(flagOf("sleep.K", AWAKE), {
    value: 100,
    variant: "active",
    reason: "TARGETING_MATCH",
    flagMetadata: { state: "active", stale: false },
  });
});

test("a forecast that is followed says so, and when it ends", () => {
  const { reason, flagMetadata } = flagOf("sleep.state", { ...AWAKE, state: "deep", endsAt: 7, stale: true });
  assert.equal(reason, "STALE");
  assert.deepEqual(flagMetadata, { state: "deep", stale: true, ends_at: 7 });
});

test("there is no other flag, and none of a parameter that is not known", () => {
  for (const key of ["", "state", "sleep.", "sleep.k", "sleep.constructor", "toString"]) {
    assert.equal(flagOf(key, AWAKE), null);
  }
  assert.equal(flagOf("sleep.B", { ...AWAKE, parameters: { K: 1 } }), null);
});
