/** Reports circuit breakers to Somabrain Sleep, without delay for the caller. */

import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { threadId } from "node:worker_threads";

import { Outbox } from "./emission/outbox.js";
import { checkInstance, nameOfInstance, readReport } from "./emission/report.js";
import { Session } from "./emission/session.js";
import { repeatPeriod } from "./protocol/waits.js";
import { checkNames, checkNumber, checkToken, readUrl, shownUrl } from "./runtime/address.js";
import { MACHINE } from "./runtime/clock.js";
import { Courier } from "./runtime/courier.js";
import { STANDARD_LOGGER, checkLogger } from "./runtime/log.js";
import { nameOf } from "./runtime/tokens.js";

/** The longest lease of a policy. */
const MOST_REPEAT_SECONDS = 2_592_000;
/** The longest time for a close: an hour. */
const MOST_CLOSE_SECONDS = 3600;
const OPTIONS = ["instance", "repeatSeconds", "logger", "fetch"];

/** Reports breakers to the API; see `index.d.ts`. */
export class Emitter {
  #clock;
  #session;
  #courier;
  #instance;

  /**
   * @param {string | URL} url
   * @param {string | (() => string | Promise<string>)} token
   * @param {import("../index.js").EmitterOptions} [options]
   * @param {import("./runtime/clock.js").Machine} [machine] for tests
   */
  constructor(url, token, options = {}, { clock, jitter } = MACHINE) {
    checkNames(options, OPTIONS);
    const { instance, repeatSeconds = 300, logger, fetch } = options;
    checkNumber("repeatSeconds", repeatSeconds, 1, MOST_REPEAT_SECONDS);
    const address = readUrl(url);
    this.#clock = clock;
    this.#instance = instance === undefined ? defaultInstance() : checkInstance(instance);
    const outbox = new Outbox(repeatPeriod(repeatSeconds, jitter()), randomBytes(4).toString("hex"));
    this.#session = new Session(outbox, shownUrl(address), jitter);
    this.#courier = new Courier({
      session: this.#session,
      fetch: fetch ?? ((input, init) => globalThis.fetch(input, init)),
      url: address,
      token: typeof token === "function" ? token : checkToken(token),
      source: `urn:sleep-client:${this.#instance}`,
      clock,
      logger: logger === undefined ? STANDARD_LOGGER : checkLogger(logger),
    });
  }

  /**
   * @param {string} tenant
   * @param {string} breaker
   * @param {string} state
   * @param {import("../index.js").ReportOptions} [options]
   */
  report(tenant, breaker, state, options) {
    try {
      const { instance = this.#instance, cause } = options ?? {};
      this.#courier.report(readReport(tenant, breaker, state, instance, cause, this.#clock()));
    } catch (error) {
      // Nothing may reach the caller's path. The text says what is wrong with a name; of other errors it may be secret.
      const invalid = error instanceof TypeError && /^(tenant|breaker|instance|state) /.test(error.message);
      if (invalid) this.#courier.drop("invalid", error.message);
      else this.#courier.drop("failed", nameOf(error));
    }
  }

  get status() {
    return this.#session.status;
  }

  get dropped() {
    return this.#session.dropped;
  }

  /** @param {import("../index.js").CloseOptions} [options] */
  async close({ release = true, timeoutSeconds = 5 } = {}) {
    checkNumber("timeoutSeconds", timeoutSeconds, 0, MOST_CLOSE_SECONDS);
    await this.#courier.close(timeoutSeconds, release);
    return this.#session.delivered;
  }
}

/** Return a name that no other process has, and no other thread of this one. */
function defaultInstance() {
  const thread = threadId === 0 ? "" : `:${threadId}`;
  return nameOfInstance(`${hostname()}:${process.pid}${thread}`);
}
