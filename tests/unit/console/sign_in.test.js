import assert from "node:assert/strict";
import { test } from "node:test";

import { Issuer, SignInError } from "./io/oidc.js";
import { entrance } from "./pure/entrance.js";

const ISSUER = "https://issuer.test";
const issuer = () => new Issuer({ issuer: ISSUER, scopes: "openid", resource: null, client_id: "console", server: { issuer: ISSUER, token_endpoint: `${ISSUER}/token` } });

/** Renew a token at an issuer that answers with `response`, or fails with it. */
async function renewed(response) {
  const before = globalThis.fetch;
  globalThis.fetch = async () => {
    if (response instanceof Response) return response;
    throw response;
  };
  try {
    return await issuer().renew("r1");
  } finally {
    globalThis.fetch = before;
  }
}

const json = (status, document) => new Response(JSON.stringify(document), { status, headers: { "Content-Type": "application/json" } });
const page = (status) => new Response("<h1>a proxy's page</h1>", { status, headers: { "Content-Type": "text/html" } });

test("a renewal takes the next tokens, and keeps a refresh token that does not rotate", async () => {
  const tokens = { access_token: "a2", token_type: "Bearer", expires_in: 60 };
  assert.deepEqual(await renewed(json(200, { ...tokens, refresh_token: "r2" })), { token: "a2", refresh: "r2", seconds: 60 });
  assert.equal((await renewed(json(200, tokens))).refresh, "r1");
});

for (const status of [408, 429, 500, 502, 503, 504]) {
  test(`a renewal that gets ${status} is tried again later`, async () => {
    assert.equal(await renewed(page(status)), null);
    assert.equal(await renewed(json(status, {})), null);
    assert.equal(await renewed(json(status, { error: "temporarily_unavailable" })), null);
  });
}

test("a renewal without an answer is tried again later", async () => {
  assert.equal(await renewed(new TypeError("Failed to fetch")), null);
  assert.equal(await renewed(new DOMException("too slow", "TimeoutError")), null);
});

test("a renewal that the issuer refuses signs the reader out", async () => {
  await assert.rejects(renewed(json(400, { error: "invalid_grant" })), SignInError);
  await assert.rejects(renewed(page(404)), SignInError);
});

test("a renewal whose answer breaks off is tried again later", async () => {
  const broken = (error) => new Response(new ReadableStream({ pull: (to) => to.error(error) }), { headers: { "Content-Type": "application/json" } });
  assert.equal(await renewed(broken(new TypeError("network error"))), null);
  assert.equal(await renewed(broken(new DOMException("too slow", "TimeoutError"))), null);
});

test("the sign-in screen offers what can be done", () => {
  const at = { issuer: ISSUER, server: {} };
  for (const [state, offered] of [
    [{ ways: null, busy: true, ready: false }, "busy"],
    [{ ways: null, busy: false, ready: false }, "again"],
    [{ ways: { issuer: null }, busy: false, ready: false }, "paste"],
    [{ ways: { issuer: ISSUER, server: null }, busy: false, ready: false }, "again"],
    [{ ways: at, busy: false, ready: true }, "issuer"],
    // Plain http, a module that did not load, or a link that signed in without the issuer.
    [{ ways: at, busy: false, ready: false }, "again"],
  ]) assert.equal(entrance(state), offered, JSON.stringify(state));
});

test("a sign-out revokes the refresh token where the issuer wants that, also while the page is closed", async () => {
  const sent = [];
  const before = globalThis.fetch;
  globalThis.fetch = async (url, options) => (sent.push([String(url), new URLSearchParams(options.body).get("token"), options.keepalive]), new Response(""));
  try {
    const quiet = issuer();
    await quiet.revoke("r1");
    assert.deepEqual(sent, []);
    quiet.server.revocation_endpoint = `${ISSUER}/revoke`;
    await quiet.revoke(null);
    assert.deepEqual(sent, []);
    await quiet.revoke("r1");
  } finally {
    globalThis.fetch = before;
  }
  assert.deepEqual(sent, [[`${ISSUER}/revoke`, "r1", true]]);
});
