/** The loop of an emitter: it does what the session decides. */

import { Bell } from "./bell.js";
import { endpoint } from "./address.js";
import { NoAnswerError, post } from "./http.js";
import { write } from "./log.js";
import { NoTokenError, fetchToken, nameOf } from "./tokens.js";
import { CONTENT_TYPE, PATH, encode } from "../emission/events.js";

/** How long a request may take, in seconds. The server answers within 4 s if Kafka is away. */
const REQUEST_SECONDS = 10;
/** A wait does not count the time for which the machine is suspended, and the clock does. */
const LONGEST_PAUSE = 30;
/** How long the loop waits after a defect, so that it does not use a whole core. */
const AFTER_ERROR_SECONDS = 1;

/** Sends the reports of a session. */
export class Courier {
  #session;
  #fetch;
  #url;
  #token;
  #source;
  #clock;
  #logger;
  #bell = new Bell();
  #rung = false;
  #sentToken = "";
  #controller = new AbortController();
  /** @type {Promise<void>} */
  #ended;

  /**
   * @param {object} parts
   * @param {import("../emission/session.js").Session} parts.session decides what is sent
   * @param {import("./http.js").Fetch} parts.fetch sends it
   * @param {URL} parts.url of the API
   * @param {string | (() => string | Promise<string>)} parts.token the token, or a function that returns one
   * @param {string} parts.source of the events
   * @param {() => number} parts.clock the time, in seconds
   * @param {import("./log.js").Logger} parts.logger
   */
  constructor({ session, fetch, url, token, source, clock, logger }) {
    this.#session = session;
    this.#fetch = fetch;
    this.#url = endpoint(url, PATH);
    this.#token = token;
    this.#source = source;
    this.#clock = clock;
    this.#logger = logger;
    // In a later turn, as all that follows: nothing is done in the caller's time.
    this.#ended = new Promise((/** @type {(value: Promise<void>) => void} */ resolve) => {
      setImmediate(() => resolve(this.#run()));
    });
  }

  /** @param {import("../emission/report.js").Report} report */
  report(report) {
    if (this.#session.report(report)) this.#ring();
  }

  /**
   * Count a report that is not sent.
   * @param {import("../emission/report.js").DropReason} reason
   * @param {string} detail
   */
  drop(reason, detail) {
    this.#session.drop(reason, detail);
    this.#ring();
  }

  #ring() {
    if (this.#rung) return;
    this.#rung = true;
    setImmediate(() => this.#bell.ring());
  }

  /**
   * Send what waits, and then end; see `Session.close`.
   * @param {number} seconds how long that may take
   * @param {boolean} release
   */
  async close(seconds, release) {
    this.#session.close(this.#clock(), seconds, release);
    this.#ring();
    const late = new NoAnswerError("the emitter was closed");
    const timer = setTimeout(() => this.#controller.abort(late), seconds * 1000);
    await this.#ended;
    clearTimeout(timer);
  }

  async #run() {
    for (;;) {
      const pause = await this.#guardedStep();
      if (pause === null) break;
      if (pause > 0) await this.#bell.wait(Math.min(pause, LONGEST_PAUSE));
    }
  }

  async #guardedStep() {
    try {
      return await this.#step();
    } catch (error) {
      // A loop that ends would keep all later reports.
      const text = error instanceof Error ? error.message : "";
      this.#session.failed(`an error of this library: ${nameOf(error)}: ${text}`, this.#clock());
      this.#log();
      return AFTER_ERROR_SECONDS;
    }
  }

  /**
   * Do one thing: send a batch, or find that nothing is to be sent now.
   * @returns {Promise<number | null>} how many seconds to wait before the next step, unless something is reported
   *   before; null at the end.
   */
  async #step() {
    this.#rung = false;
    this.#bell.clear();
    const step = this.#session.next(this.#clock());
    if (step.kind === "post") {
      const { body, count } = encode(step.events, this.#source);
      await this.#send(body, count);
    }
    this.#log();
    if (step.kind === "end") return null;
    return step.kind === "post" ? 0 : step.seconds;
  }

  /**
   * @param {string} body
   * @param {number} count
   */
  async #send(body, count) {
    const controller = new AbortController();
    this.#controller = controller;
    const sent = this.#clock();
    try {
      const token = await fetchToken(this.#token, controller.signal);
      this.#sentToken = token;
      const seconds = this.#session.remaining(this.#clock(), REQUEST_SECONDS);
      const request = { token, contentType: CONTENT_TYPE, body, seconds, controller };
      const answer = await post(this.#fetch, this.#url, request);
      this.#session.answered(answer, count, sent, this.#clock());
    } catch (error) {
      if (!(error instanceof NoAnswerError || error instanceof NoTokenError)) throw error;
      this.#session.failed(error.message, this.#clock());
    }
  }

  #log() {
    write(this.#logger, this.#session.notices(), this.#sentToken);
  }
}
