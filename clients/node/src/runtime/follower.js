/** The tasks of a reader: they do what its session decides. */

import { Bell } from "./bell.js";
import { NoAnswerError } from "./http.js";
import { withoutToken, write } from "./log.js";
import { NoTokenError, fetchToken, nameOf } from "./tokens.js";
import { judge, verdict } from "../reading/answers.js";
import { BadStreamError } from "../reading/errors.js";

/** A wait does not count the time for which the machine is suspended, and the clock does. In seconds. */
const LONGEST_PAUSE = 30;
const ENDED = "the server ended the stream";
const OTHER = "is it a server of another version? then upgrade @somabrain/sleep-client";

/** Keeps a stream open. */
export class Follower {
  #session;
  #open;
  #token;
  #clock;
  #changed;
  #logger;
  #bell = new Bell();
  /** @type {Map<import("../reading/session.js").Link, AbortController>} */
  #links = new Map();
  /** @type {Set<Promise<void>>} */
  #tasks = new Set();
  #sentToken = "";
  #stopped = false;

  /**
   * @param {object} parts
   * @param {import("../reading/session.js").Session} parts.session decides what is done
   * @param {ReturnType<typeof import("./stream.js").streamOpener>} parts.open opens streams
   * @param {string | (() => string | Promise<string>)} parts.token the token, or a function that returns one
   * @param {() => number} parts.clock the time, in seconds
   * @param {() => void} parts.changed called after something has changed
   * @param {import("./log.js").Logger} parts.logger
   */
  constructor({ session, open, token, clock, changed, logger }) {
    this.#session = session;
    this.#open = open;
    this.#token = token;
    this.#clock = clock;
    this.#changed = changed;
    this.#logger = logger;
  }

  /** End `run`. */
  stop() {
    this.#stopped = true;
    this.#session.close();
    for (const controller of this.#links.values()) controller.abort(new NoAnswerError("the reader was closed"));
    this.#bell.ring();
  }

  /** Follow the stream until `stop`. */
  async run() {
    for (;;) {
      const step = this.#session.next(this.#clock());
      this.#bell.clear();
      this.#report();
      if (step.kind === "end") break;
      if (step.kind === "connect") {
        const task = this.#follow(this.#session.connect(this.#clock()));
        this.#tasks.add(task);
        void task.then(() => this.#tasks.delete(task));
      } else {
        await this.#bell.wait(Math.min(step.seconds, LONGEST_PAUSE));
      }
    }
    await Promise.all(this.#tasks);
  }

  /** @param {import("../reading/session.js").Link} link */
  async #follow(link) {
    const controller = new AbortController();
    this.#links.set(link, controller);
    let result;
    try {
      result = await this.#receive(link, controller);
    } catch (error) {
      result = verdictOf(error);
    }
    this.#links.delete(link);
    if (this.#stopped) return;
    // It is in errors, too. A server or a proxy may show the headers of a request in its answer.
    const finding = withoutToken(result.finding, this.#sentToken);
    this.#session.ended(link, { ...result, finding }, this.#clock());
    this.#bell.ring();
  }

  /**
   * @param {import("../reading/session.js").Link} link
   * @param {AbortController} controller
   */
  async #receive(link, controller) {
    const token = await fetchToken(this.#token, controller.signal);
    this.#sentToken = token;
    this.#session.authorised(link, token);
    const stream = this.#open(token, link.intake.lastId, controller);
    try {
      const answered = judge(await stream.answer());
      if (answered.meaning !== "accepted") return answered;
      for await (const chunk of stream.chunks()) {
        if (controller.signal.aborted) break;
        this.#take(link, chunk);
      }
      return verdict("later", ENDED);
    } finally {
      stream.close();
    }
  }

  /**
   * @param {import("../reading/session.js").Link} link
   * @param {Uint8Array} chunk
   */
  #take(link, chunk) {
    const { status } = this.#session;
    const superseded = this.#session.take(link, chunk, this.#clock());
    if (superseded !== null) this.#links.get(superseded)?.abort(new NoAnswerError("another stream took over"));
    this.#report();
    // When the token is to be renewed is known now.
    if (this.#session.status !== status || superseded !== null) this.#bell.ring();
  }

  /** Log what is to be logged, and tell of changes. */
  #report() {
    write(this.#logger, this.#session.notices(), this.#sentToken);
    this.#changed();
  }
}

/** @param {unknown} error */
function verdictOf(error) {
  if (error instanceof NoAnswerError || error instanceof NoTokenError) return verdict("later", error.message);
  if (error instanceof BadStreamError) {
    return verdict("content", `the stream cannot be understood: ${error.message}; ${OTHER}`);
  }
  const text = error instanceof Error ? error.message : "";
  return verdict("later", `an error of this library: ${nameOf(error)}: ${text}`);
}
