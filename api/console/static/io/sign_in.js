// How a reader gets a token: from the issuer, by a link that signs in once, or pasted.

import { root } from "./api.js";

const SECONDS = 10;
const CODE_HEADER = "Sleep-Sign-In-Code";
const LINK = /^#\/\?code=([A-Za-z0-9_-]{1,128})$/;

/** The code of a link that signs in once; it leaves the address at once. */
export function takeCode() {
  const found = LINK.exec(location.hash);
  if (found === null) return null;
  history.replaceState(null, "", location.pathname);
  return found[1];
}

/** What the API says of the ways to sign in. */
export async function ways() {
  return ask("GET");
}

/** A token for a code. */
export async function redeem(code) {
  return (await ask("POST", { [CODE_HEADER]: code })).token;
}

async function ask(method, headers = {}) {
  let response;
  try {
    response = await fetch(`${root()}/console/sign-in`, { method, headers, signal: AbortSignal.timeout(SECONDS * 1000), credentials: "omit", cache: "no-store" });
  } catch {
    throw new Error("The API does not answer. Try again when the connection is back.");
  }
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(document.detail ?? `HTTP ${response.status}`);
  return document;
}

/** The answer of an issuer in the address of this page; it leaves the address at once. Null if there is none. */
export function takeAnswer() {
  const answer = new URLSearchParams(location.search);
  if (!answer.has("state") || !(answer.has("code") || answer.has("error"))) return null;
  history.replaceState(null, "", location.pathname + location.hash);
  return answer;
}
