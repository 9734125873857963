/** The function of the caller that returns tokens. It may wait, and holds up neither a stream nor its end. */

import { checkToken } from "./address.js";

/** How long the function may take, in seconds. */
const TOKEN_SECONDS = 10;

/** There is no usable token. The text says why, and has no secret. */
export class NoTokenError extends Error {}

/**
 * Return a token: the given one, or what the function returns.
 * @param {string | (() => string | Promise<string>)} token
 * @param {AbortSignal} signal ends the wait
 * @returns {Promise<string>}
 * @throws {NoTokenError} if it throws, takes too long, or returns what no token can be.
 */
export async function fetchToken(token, signal) {
  if (typeof token === "string") return token;
  /** @type {(() => void)[]} */
  const cleanUp = [];
  const interrupted = new Promise((_, reject) => {
    const text = `the function of the token took more than ${TOKEN_SECONDS} s`;
    const timer = setTimeout(() => reject(new NoTokenError(text)), TOKEN_SECONDS * 1000);
    const stop = () => reject(new NoTokenError("the client was closed"));
    signal.addEventListener("abort", stop);
    cleanUp.push(() => clearTimeout(timer), () => signal.removeEventListener("abort", stop));
    if (signal.aborted) stop();
  });
  try {
    // `async`, so that what the function throws at once is caught too.
    return checkToken(await Promise.race([(async () => token())(), interrupted]));
  } catch (error) {
    if (error instanceof NoTokenError) throw error;
    // A function of the caller may throw anything, and its text may be secret.
    throw new NoTokenError(`there is no usable token (${nameOf(error)})`);
  } finally {
    for (const each of cleanUp) each();
  }
}

/**
 * Return the kind of an error, without its text.
 * @param {unknown} error
 */
export function nameOf(error) {
  return error instanceof Error ? error.constructor.name : typeof error;
}
