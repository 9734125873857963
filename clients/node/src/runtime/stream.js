/** One stream of events over `fetch`. */

import { NoAnswerError, answerOf, common, noAnswer, readBody } from "./http.js";
import { endpoint } from "./address.js";
import { CONTENT_TYPE, PATH, isStream } from "../reading/answers.js";

/** How long nothing may come. The server sends something every 15 s; its first answer may take 20 s. */
const READ_SECONDS = 40;

/**
 * Return a function that opens streams of states.
 * @param {import("./http.js").Fetch} fetch
 * @param {URL} url of the API
 * @param {Iterable<string> | null} tenants those of the stream, null for all
 */
export function streamOpener(fetch, url, tenants) {
  const target = endpoint(url, PATH);
  if (tenants !== null) target.searchParams.set("tenants", [...tenants].sort().join());
  return (/** @type {string} */ token, /** @type {string} */ lastId, /** @type {AbortController} */ controller) =>
    new Stream(fetch, target, token, lastId, controller);
}

/** A stream: its answer, then its bytes. */
class Stream {
  #controller;
  /** @type {NodeJS.Timeout} */
  #timer;
  #fetch;
  #url;
  #init;
  /** @type {Response | null} */
  #response = null;

  /**
   * @param {import("./http.js").Fetch} fetch
   * @param {URL} url
   * @param {string} token the bearer token
   * @param {string} lastId what the stream goes on from, "" for a snapshot
   * @param {AbortController} controller ends it
   */
  constructor(fetch, url, token, lastId, controller) {
    this.#controller = controller;
    this.#fetch = fetch;
    this.#url = url;
    /** @type {Record<string, string>} */
    const resumed = lastId === "" ? {} : { "last-event-id": lastId };
    this.#init = {
      ...common(token, `${CONTENT_TYPE}, application/problem+json`, resumed),
      signal: controller.signal,
    };
    this.#timer = this.#startTimer();
  }

  #startTimer() {
    const silence = new NoAnswerError(`nothing came for ${READ_SECONDS} s`);
    return setTimeout(() => this.#controller.abort(silence), READ_SECONDS * 1000);
  }

  /**
   * Return the answer. If it is no stream, it has its body.
   * @throws {NoAnswerError} if there is none.
   */
  async answer() {
    try {
      this.#response = await this.#fetch(this.#url, this.#init);
      const type = this.#response.headers.get("content-type") ?? undefined;
      return answerOf(this.#response, isStream(type) ? "" : await readBody(this.#response));
    } catch (error) {
      throw noAnswer(error);
    }
  }

  /**
   * Yield the bytes that follow the answer.
   * @returns {AsyncGenerator<Uint8Array, void, undefined>}
   * @throws {NoAnswerError} if the stream breaks.
   */
  async *chunks() {
    try {
      for await (const chunk of this.#response?.body ?? []) {
        clearTimeout(this.#timer);
        this.#timer = this.#startTimer();
        yield chunk;
      }
    } catch (error) {
      throw noAnswer(error);
    }
  }

  /** Close the connection. */
  close() {
    clearTimeout(this.#timer);
    this.#controller.abort(new NoAnswerError("the stream was closed"));
  }
}
