/**
 * The status of a reader, and what its follower does next.
 *
 * The follower asks `next` and does what it says: it opens a connection, or waits. It tells what a connection brings,
 * and how it ends. Mostly there is one connection. Before its token ends there are two for a moment: the second one
 * goes on from the id of the first, and takes over once it is ready.
 * @typedef {import("./answers.js").Verdict} Verdict
 * @typedef {import("../../index.js").ReaderStatus} Status
 * @typedef {{level: "info" | "warn" | "error", text: string}} Notice a line for the log
 * @typedef {{kind: "connect"} | {kind: "pause", seconds: number} | {kind: "end"}} Step
 */

import { BadStreamError } from "./errors.js";
import { Changed, Intake } from "./intake.js";
import { LogClock } from "./log-clock.js";
import { ParameterReader } from "./parameters.js";
import { EventParser } from "./sse.js";
import { endsAt } from "./token.js";
import * as waits from "../protocol/waits.js";

/** How long a connection may take to be ready, in seconds. 100,000 tenants took 13 s on a busy machine. */
const SNAPSHOT_SECONDS = 120;
/** How long a connection may bring no time. The server sends one every 15 s. */
const SILENT_SECONDS = 60;
/** How long before its end a token is renewed at the latest, or a quarter of what is left of it. */
const RENEWAL_SECONDS = 60;
/** A token with less than this left is not renewed: the connection ends with it. */
const SHORTEST_RENEWAL = 1;

export const ReaderStatus = Object.freeze(
  /** @type {const} */ ({ NOT_READY: "not_ready", READY: "ready", STALE: "stale", ERROR: "error" }),
);

/** A connection. */
export class Link {
  /**
   * Milliseconds since the epoch; null if that is not known.
   * @type {number | null}
   */
  tokenEndsAt = null;
  #parser = new EventParser();

  /**
   * @param {Intake} intake takes its events
   * @param {number} now when it is opened, in seconds of the local clock
   */
  constructor(intake, now) {
    this.intake = intake;
    /** When it was opened, or when it brought the last time. */
    this.heardAt = now;
  }

  /**
   * Take bytes.
   * @param {Uint8Array} chunk
   * @param {number} now
   * @throws {BadStreamError} if they are no events of states, or if the stream lets wait for them.
   */
  take(chunk, now) {
    for (const event of this.#parser.feed(chunk)) {
      if (this.intake.take(event, now)) this.heardAt = now;
    }
    if (now - this.heardAt > (this.intake.ready ? SILENT_SECONDS : SNAPSHOT_SECONDS)) {
      const what = this.intake.ready ? "the log's time" : "the end of the snapshot";
      throw new BadStreamError(`${what} does not come`);
    }
  }
}

/** Decides what the follower does, from what connections bring and the time that it is given. */
export class Session {
  /** @type {Status} */
  status = ReaderStatus.NOT_READY;
  /** The log's. */
  clock = new LogClock();
  changed = new Changed();
  /** Why the last attempt failed; "" if it did not. */
  finding = "";
  #tenants;
  #address;
  #wakes;
  #maxStaleSeconds;
  #jitter;
  #renews;
  #sets = new ParameterReader();
  /** @type {Link | null} */
  #current = null;
  /** @type {Link | null} */
  #opening = null;
  #lastId = "";
  #failures = 0;
  /** Refusals of a token since a stream was open. */
  #refusedTokens = 0;
  #notBefore = -Infinity;
  #renewAt = Infinity;
  #staleSince = Infinity;
  #closed = false;
  #said = "";
  /** @type {Notice[]} */
  #notices = [];

  /**
   * @param {import("./tenants.js").Tenants} tenants what is known
   * @param {object} options
   * @param {string} options.address the URL as it is logged
   * @param {"hold" | "wake"} options.whenStale what counts in `ERROR`
   * @param {number} options.maxStaleSeconds after which time without a stream the status is `ERROR`
   * @param {() => number} options.jitter returns a random number from 0 to 1
   * @param {boolean} options.renews whether tokens can be renewed
   */
  constructor(tenants, { address, whenStale, maxStaleSeconds, jitter, renews }) {
    this.#tenants = tenants;
    this.#address = address;
    this.#wakes = whenStale === "wake";
    this.#maxStaleSeconds = maxStaleSeconds;
    this.#jitter = jitter;
    this.#renews = renews;
  }

  /**
   * Return the next step of the follower.
   * @param {number} now
   * @returns {Step}
   */
  next(now) {
    if (this.#closed) return { kind: "end" };
    const errorAt = this.#staleSince + this.#maxStaleSeconds;
    if (this.status === ReaderStatus.STALE && now >= errorAt) this.#staleForTooLong();
    let soonest = this.status === ReaderStatus.STALE ? errorAt : Infinity;
    if (this.#opening === null) {
      const due = this.#current === null ? this.#notBefore : Math.max(this.#renewAt, this.#notBefore);
      if (now >= due) return { kind: "connect" };
      soonest = Math.min(soonest, due);
    }
    return { kind: "pause", seconds: soonest - now };
  }

  /**
   * Begin a connection.
   * @param {number} now
   * @returns {Link}
   */
  connect(now) {
    const intake = new Intake(this.#tenants, this.clock, this.#sets, this.changed, this.lastId);
    this.#opening = new Link(intake, now);
    return this.#opening;
  }

  /** What the next connection goes on from. */
  get lastId() {
    return this.#current === null ? this.#lastId : this.#current.intake.lastId;
  }

  /**
   * Note the token of a connection.
   * @param {Link} link
   * @param {string} token
   */
  authorised(link, token) {
    link.tokenEndsAt = this.#renews ? endsAt(token) : null;
  }

  /**
   * Take bytes of a connection, and return the one that it takes over from, which is not needed any more.
   * @param {Link} link
   * @param {Uint8Array} chunk
   * @param {number} now
   * @returns {Link | null}
   * @throws {BadStreamError} if they are no events of states.
   */
  take(link, chunk, now) {
    link.take(chunk, now);
    if (link !== this.#opening || !link.intake.ready) return null;
    const before = this.#current;
    this.#current = link;
    this.#opening = null;
    this.#failures = 0;
    this.#refusedTokens = 0;
    this.#staleSince = Infinity;
    this.finding = "";
    this.#planRenewal(link, now);
    this.#become(ReaderStatus.READY, "", "info", `The states of tenants come from ${this.#address}.`);
    return before;
  }

  /**
   * @param {Link} link
   * @param {number} now
   */
  #planRenewal(link, now) {
    this.#renewAt = Infinity;
    this.#notBefore = -Infinity;
    if (link.tokenEndsAt === null) return;
    const left = (link.tokenEndsAt - this.clock.at(now)) / 1000;
    if (left > SHORTEST_RENEWAL) {
      // Jitter keeps readers with tokens of the same moment from calling in step.
      this.#renewAt = now + left - (Math.min(RENEWAL_SECONDS, left / 4) * (1 + this.#jitter())) / 2;
    }
  }

  /**
   * Note that a connection has ended, or could not be opened, and why.
   * @param {Link} link
   * @param {Verdict} verdict
   * @param {number} now
   */
  ended(link, verdict, now) {
    if (link === this.#opening) {
      this.#opening = null;
    } else if (link === this.#current) {
      this.#current = null;
      this.#lastId = link.intake.lastId;
    } else {
      return;
    }
    // After a `reset` without its snapshot.
    if (this.#current === null && link.intake.lastId === "") this.#lastId = "";
    this.#failures += 1;
    if (verdict.meaning === "token") this.#refusedTokens += 1;
    this.finding = verdict.finding;
    this.#notBefore = now + this.#wait(verdict);
    if (this.#current !== null) {
      this.#say(`renewal: ${verdict.meaning}`, "warn", this.#textOfRenewal(verdict));
    } else if (this.#isRefusal(verdict)) {
      this.#refused(verdict);
    } else {
      this.#lost(verdict, now);
    }
  }

  /** @param {Verdict} verdict */
  #isRefusal({ meaning }) {
    // At the start it is another server; later it may be an accident.
    if (meaning === "content") return !this.#tenants.complete;
    return meaning === "person" || (meaning === "token" && !this.#mayHaveEnded());
  }

  /** Tell whether a refused token may just have ended, and the next one may be right. */
  #mayHaveEnded() {
    return this.#refusedTokens === 1 && this.#tenants.complete;
  }

  /** @param {Verdict} verdict */
  #wait(verdict) {
    if (verdict.retryAfter !== null) return waits.afterRetryAfter(verdict.retryAfter, this.#jitter());
    if (this.#current === null && verdict.meaning !== "content" && this.#isRefusal(verdict)) {
      return waits.afterRefusal(this.#jitter());
    }
    return waits.afterFailure(this.#failures, this.#jitter());
  }

  /** @param {Verdict} verdict */
  #textOfRenewal({ finding }) {
    return `${this.#address} gives no stream for a new token: ${finding}. Trying again; the old one is open.`;
  }

  /**
   * @param {Verdict} verdict
   * @param {number} now
   */
  #lost({ finding }, now) {
    if (this.status === ReaderStatus.READY) {
      this.#staleSince = now;
      const text = `The stream of ${this.#address} is lost: ${finding}. Following the forecasts; trying again.`;
      this.#become(ReaderStatus.STALE, "", "warn", text);
    } else if (this.status === ReaderStatus.NOT_READY) {
      const text = `${this.#address} gives no states yet: ${finding}. Trying again.`;
      this.#tenants.explain(text);
      this.#say("not ready", "warn", text);
    }
  }

  /** @param {Verdict} verdict */
  #refused({ finding }) {
    const text = `${this.#address} gives the reader no states: ${finding}. Trying again about once a minute.`;
    if (!this.#tenants.complete) this.#tenants.explain(text);
    this.#become(ReaderStatus.ERROR, "refused", "error", text);
  }

  #staleForTooLong() {
    const follows = this.#wakes ? "Every tenant is taken for awake" : "Following the forecasts";
    const text =
      `${this.#address} has given no states for ${this.#maxStaleSeconds} s: ${this.finding}. ` +
      `${follows}; trying again.`;
    this.#become(ReaderStatus.ERROR, "stale", "error", text);
  }

  /**
   * @param {Status} status
   * @param {string} kind
   * @param {Notice["level"]} level
   * @param {string} text
   */
  #become(status, kind, level, text) {
    if (status !== this.status) {
      this.status = status;
      this.#tenants.woken = this.#wakes && status === ReaderStatus.ERROR;
      this.#tenants.stale = status !== ReaderStatus.READY;
      this.changed.addAll();
    }
    this.#say(`${status}: ${kind}`, level, text);
  }

  /**
   * @param {string} what
   * @param {Notice["level"]} level
   * @param {string} text
   */
  #say(what, level, text) {
    // One line a change; each renewal would else repeat the line of the status.
    if (what === this.#said) return;
    this.#said = what;
    this.#notices.push({ level, text });
  }

  /** End. */
  close() {
    this.#closed = true;
    this.status = ReaderStatus.NOT_READY;
  }

  /** Return the lines for the log since the last call. */
  notices() {
    const notices = this.#notices;
    this.#notices = [];
    return notices;
  }
}
