/**
 * Requests over `fetch`, with bounds of their size and duration.
 * @typedef {typeof globalThis.fetch} Fetch
 */

import { Answer } from "../protocol/answer.js";

/** What is read of an answer. The largest one of the server, with 20 wrong fields, is smaller. */
const MOST_BYTES = 65_536;

/** A request got no answer, or its stream broke. The text says why. */
export class NoAnswerError extends Error {}

/**
 * Return what all requests have.
 *
 * A redirect is not followed: it would take the token elsewhere. Without a compression that is asked for, an answer
 * cannot expand without a bound.
 * @param {string} token
 * @param {string} accept
 * @param {Record<string, string>} more headers
 * @returns {RequestInit & {headers: Record<string, string>}}
 */
export function common(token, accept, more) {
  const headers = {
    authorization: `Bearer ${token}`,
    accept,
    "accept-encoding": "identity",
    "user-agent": "somabrain-sleep-client",
    ...more,
  };
  return { headers, redirect: "manual", cache: "no-store" };
}

/**
 * Return an answer for the core.
 * @param {Response} response
 * @param {string} body
 */
export function answerOf(response, body) {
  return new Answer(response.status, new Map(response.headers), body);
}

/**
 * Return the first 64 KiB of a body as text.
 * @param {Response} response
 * @returns {Promise<string>}
 */
export async function readBody(response) {
  /** @type {Uint8Array[]} */
  const chunks = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    size += chunk.length;
    if (size >= MOST_BYTES) break;
  }
  return Buffer.concat(chunks).subarray(0, MOST_BYTES).toString();
}

/**
 * Return why a request failed, for people. `fetch` hides the reason in the cause of its error.
 * @param {unknown} error
 * @returns {NoAnswerError}
 */
export function noAnswer(error) {
  if (error instanceof NoAnswerError) return error;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return new NoAnswerError("the request failed");
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : cause.name;
  return new NoAnswerError(cause.message === "" ? code : `${code}: ${cause.message}`);
}

/**
 * Send a body and return the answer.
 * @param {Fetch} fetch
 * @param {URL} url
 * @param {object} request
 * @param {string} request.token the bearer token
 * @param {string} request.contentType
 * @param {string} request.body
 * @param {number} request.seconds how long it may take
 * @param {AbortController} request.controller ends it before
 * @returns {Promise<Answer>}
 * @throws {NoAnswerError} if there is none.
 */
export async function post(fetch, url, { token, contentType, body, seconds, controller }) {
  const late = new NoAnswerError(`no answer within ${seconds.toFixed(1)} s`);
  const timer = setTimeout(() => controller.abort(late), seconds * 1000);
  try {
    const response = await fetch(url, {
      ...common(token, "application/json, application/problem+json", { "content-type": contentType }),
      method: "POST",
      body,
      signal: controller.signal,
    });
    return answerOf(response, await readBody(response));
  } catch (error) {
    throw noAnswer(error);
  } finally {
    clearTimeout(timer);
  }
}
