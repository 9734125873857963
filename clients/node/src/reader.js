/**
 * Knows how every tenant sleeps.
 * @typedef {import("../index.js").TenantState} TenantState
 * @typedef {import("../index.js").ReaderOptions} ReaderOptions
 */

import { NotReady } from "./reading/errors.js";
import { ReaderStatus, Session } from "./reading/session.js";
import { isState } from "./reading/tenant-state.js";
import { Tenants } from "./reading/tenants.js";
import { checkTenant, shown } from "./protocol/names.js";
import { checkNames, checkNumber, checkToken, readUrl, shownUrl } from "./runtime/address.js";
import { MACHINE } from "./runtime/clock.js";
import { Follower } from "./runtime/follower.js";
import { STANDARD_LOGGER, checkLogger, write } from "./runtime/log.js";
import { streamOpener } from "./runtime/stream.js";
import { nameOf } from "./runtime/tokens.js";

/** What the server accepts in one list. */
const MOST_TENANTS = 200;
/** The longest time without a stream: ten years. */
const MOST_STALE_SECONDS = 315_360_000;
const OPTIONS = ["tenants", "initial", "maxStaleSeconds", "whenStale", "onChange", "logger", "fetch"];

/** Follows the states of all tenants, or of some; see `index.d.ts`. */
export class SleepReader {
  #clock;
  #tenants;
  #session;
  #follower;
  #logger;
  #onChange;
  #closed = false;
  /** @type {string} */
  #seenStatus = ReaderStatus.NOT_READY;
  /** @type {Set<() => void>} */
  #waiters = new Set();
  /** @type {Promise<void>} */
  #ended;

  /**
   * @param {string | URL} url
   * @param {string | (() => string | Promise<string>)} token
   * @param {ReaderOptions} [options]
   * @param {import("./runtime/clock.js").Machine} [machine] for tests
   */
  constructor(url, token, options = {}, { clock, jitter } = MACHINE) {
    checkNames(options, OPTIONS);
    const { tenants, initial, maxStaleSeconds = 60, whenStale = "hold", onChange, logger, fetch } = options;
    checkNumber("maxStaleSeconds", maxStaleSeconds, 0, MOST_STALE_SECONDS);
    if (whenStale !== "hold" && whenStale !== "wake") {
      throw new TypeError(`whenStale: use "hold" or "wake", not ${shown(whenStale, 40)}`);
    }
    if (onChange !== undefined && typeof onChange !== "function") throw new TypeError("onChange: use a function");
    const watched = readNames(tenants);
    this.#clock = clock;
    const address = readUrl(url);
    this.#onChange = onChange;
    this.#logger = logger === undefined ? STANDARD_LOGGER : checkLogger(logger);
    this.#tenants = new Tenants(watched, readInitial(initial));
    this.#session = new Session(this.#tenants, {
      address: shownUrl(address),
      whenStale,
      maxStaleSeconds,
      jitter,
      renews: typeof token === "function",
    });
    this.#follower = new Follower({
      session: this.#session,
      open: streamOpener(fetch ?? ((input, init) => globalThis.fetch(input, init)), address, watched),
      token: typeof token === "function" ? token : checkToken(token),
      clock,
      changed: () => this.#changed(),
      logger: this.#logger,
    });
    // In a later turn, so that `onChange` is not called before the caller has the reader.
    this.#ended = Promise.resolve()
      .then(() => this.#follower.run())
      .catch((error) => this.#failed(error));
  }

  /** @param {string} tenant */
  state(tenant) {
    return this.#tenants.at(tenant, this.#session.clock.at(this.#clock()));
  }

  /**
   * @param {string} tenant
   * @param {Iterable<string>} states
   * @returns {number | null}
   */
  secondsIn(tenant, states) {
    const now = this.#session.clock.at(this.#clock());
    const at = this.#tenants.leavesAt(tenant, new Set(states), now);
    return at === null ? null : (at - now) / 1000;
  }

  get status() {
    return this.#session.status;
  }

  /** @param {number} [timeout] seconds */
  async waitReady(timeout = 10) {
    if (!this.#settled) {
      await new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
        const waiter = () => {
          if (this.#settled) done();
        };
        const done = () => {
          clearTimeout(timer);
          this.#waiters.delete(waiter);
          resolve();
        };
        const timer = setTimeout(done, timeout * 1000);
        this.#waiters.add(waiter);
      });
    }
    if (this.status !== ReaderStatus.READY) throw this.#refusal(timeout);
  }

  get #settled() {
    return this.#closed || this.status === ReaderStatus.READY || this.status === ReaderStatus.ERROR;
  }

  async close() {
    this.#closed = true;
    this.#tenants.forget("the reader was closed");
    this.#follower.stop();
    this.#tellWaiters();
    await this.#ended;
  }

  /**
   * After a defect no state is known, since none would change any more.
   * @param {unknown} error
   */
  #failed(error) {
    const text = `the reader has ended by an error of this library: ${nameOf(error)}`;
    write(this.#logger, [{ level: "error", text }], "");
    this.#tenants.forget(text);
  }

  /** @param {number} timeout */
  #refusal(timeout) {
    if (this.#closed) return new NotReady("the reader was closed");
    const why = this.#session.finding || "no answer has come yet";
    if (this.status === ReaderStatus.ERROR) return new NotReady(`the reader gets no states: ${why}`);
    return new NotReady(`the reader was not ready within ${timeout} s: ${why}`);
  }

  #tellWaiters() {
    for (const waiter of [...this.#waiters]) waiter();
  }

  /** Tell of what has changed. */
  #changed() {
    const { status } = this;
    if (status !== this.#seenStatus) {
      this.#seenStatus = status;
      this.#tellWaiters();
    }
    const tenants = this.#session.changed.take();
    if (this.#onChange === undefined || tenants?.size === 0) return;
    // The stream goes on, whatever a function of the caller does, at once or later.
    const failed = (/** @type {unknown} */ error) =>
      write(this.#logger, [{ level: "error", text: `onChange threw ${nameOf(error)}` }], "");
    try {
      Promise.resolve(this.#onChange(Object.freeze({ status, tenants }))).catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}

/**
 * @param {Iterable<string> | undefined | null} tenants
 * @returns {Set<string> | null}
 */
function readNames(tenants) {
  if (tenants === undefined || tenants === null) return null;
  if (typeof tenants === "string" || typeof tenants[Symbol.iterator] !== "function") {
    throw new TypeError("tenants: use a list of names");
  }
  const names = new Set([...tenants].map(checkTenant));
  if (names.size < 1 || names.size > MOST_TENANTS) {
    throw new TypeError(`tenants: use 1 to ${MOST_TENANTS} names, or none for all tenants`);
  }
  return names;
}

/**
 * @param {ReaderOptions["initial"]} initial
 * @returns {TenantState | null}
 */
function readInitial(initial) {
  if (initial === undefined || initial === null) return null;
  const { state, parameters, since = null, cause = null, endsAt = null } = initial;
  if (!isState(state) || typeof parameters !== "object" || parameters === null) {
    throw new TypeError('initial: use a state such as { state: "active", parameters: { K: 100, … } }');
  }
  return { state, parameters: Object.freeze({ ...parameters }), since, cause, endsAt, stale: true };
}
