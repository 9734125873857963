/**
 * The session with the server: its status, and what the emitter does next.
 *
 * The courier asks `next` and does what it says: it posts a batch, or waits. It hands the answer to `answered`. So one
 * request is under way at a time. The first request has no events. It shows a wrong URL or token at the start,
 * before a breaker opens, and it gives the server's time.
 * @typedef {import("./answers.js").Verdict} Verdict
 * @typedef {import("./events.js").Event} Event
 * @typedef {import("./report.js").DropReason} DropReason
 * @typedef {import("../../index.js").EmitterStatus} EmitterStatus
 * @typedef {import("../reading/session.js").Notice} Notice
 * @typedef {{kind: "post", events: Event[]} | {kind: "pause", seconds: number} | {kind: "end"}} Step
 */

import { judge } from "./answers.js";
import { ServerTime } from "./server-time.js";
import * as waits from "../protocol/waits.js";

/**
 * How long the events of a tenant wait after a 403 for it. The refusals of many pods share one budget at the server.
 */
const FORBIDDEN_SECONDS = 600;

export const Status = Object.freeze(
  /** @type {const} */ ({ STARTING: "starting", READY: "ready", AWAY: "away", REFUSED: "refused", CLOSED: "closed" }),
);

/** Decides what an emitter does, from reports, answers and the time that it is given. */
export class Session {
  /** @type {EmitterStatus} */
  status = Status.STARTING;
  /** Whether the session has ended with nothing left to send. */
  delivered = false;
  #outbox;
  #address;
  #jitter;
  #serverTime = new ServerTime();
  #greeted = false;
  #failures = 0;
  #notBefore = -Infinity;
  /** @type {number | null} */
  #deadline = null;
  /** @type {Notice[]} */
  #notices = [];

  /**
   * @param {import("./outbox.js").Outbox} outbox the reports
   * @param {string} address the URL as it is logged
   * @param {() => number} jitter returns a random number from 0 to 1
   */
  constructor(outbox, address, jitter) {
    this.#outbox = outbox;
    this.#address = address;
    this.#jitter = jitter;
  }

  /** The number of reports that were dropped, by reason. */
  get dropped() {
    return Object.fromEntries(this.#outbox.dropped);
  }

  /** Whether `close` was called. */
  get closing() {
    return this.#deadline !== null;
  }

  /**
   * Take a report, and return whether there is something new to do. After `close` it is dropped.
   * @param {import("./report.js").Report} report
   * @returns {boolean}
   */
  report(report) {
    if (this.closing) {
      this.drop("closed", "the emitter was closed before");
      return false;
    }
    const full = this.#outbox.droppedFor("full");
    if (this.#outbox.report(report)) return true;
    if (this.#outbox.droppedFor("full") !== full) {
      this.#noteDrop("full", "too many different breakers and instances; use fewer names");
    }
    return this.#notices.length > 0;
  }

  /**
   * Count a report that is not sent.
   * @param {DropReason} reason
   * @param {string} detail
   */
  drop(reason, detail) {
    this.#outbox.drop(reason);
    this.#noteDrop(reason, detail);
  }

  /**
   * @param {DropReason} reason
   * @param {string} detail
   */
  #noteDrop(reason, detail) {
    // One line a reason. A defect of the caller would otherwise fill the log.
    if (this.#outbox.droppedFor(reason) === 1) {
      this.#say("warn", `A report was dropped (${reason}): ${detail}. \`dropped\` counts further ones.`);
    }
  }

  /**
   * Send what waits, within a time, and then end.
   * @param {number} now
   * @param {number} seconds how long that may take
   * @param {boolean} release whether to report as closed what the server may hold. Otherwise leases end it.
   */
  close(now, seconds, release) {
    if (this.#deadline !== null) return;
    this.#deadline = now + seconds;
    this.#notBefore = Math.min(this.#notBefore, now + waits.CLOSING_SECONDS);
    if (release) this.#outbox.release(now);
  }

  /**
   * Return the next step of the courier.
   * @param {number} now
   * @returns {Step}
   */
  next(now) {
    if (this.status === Status.CLOSED) return { kind: "end" };
    const due = this.#outbox.dueAt(now);
    const last = this.#deadline ?? Infinity;
    if (this.#deadline !== null && (now >= last || this.#outbox.waiting === 0 || due === null || due >= last)) {
      this.end();
      return { kind: "end" };
    }
    if (now < this.#notBefore) return { kind: "pause", seconds: Math.min(this.#notBefore, last) - now };
    if (!this.#greeted) return { kind: "post", events: [] };
    if (due !== null && due <= now) return { kind: "post", events: this.#outbox.take(now, this.#serverTime) };
    return { kind: "pause", seconds: Math.min(due ?? Infinity, last) - now };
  }

  /**
   * Return how long a request may take: `most` seconds, less if the emitter closes before.
   * @param {number} now
   * @param {number} most
   */
  remaining(now, most) {
    return this.#deadline === null ? most : Math.max(0.1, Math.min(most, this.#deadline - now));
  }

  /** End now, whatever waits. */
  end() {
    const left = this.#outbox.abandon();
    this.status = Status.CLOSED;
    this.delivered = left === 0;
    if (left > 0) {
      const text = `The emitter was closed before ${left} reports reached ${this.#address}. Leases end their claims.`;
      this.#say("warn", text);
    }
  }

  /**
   * Take an answer.
   * @param {import("../protocol/answer.js").Answer} answer
   * @param {number} count the number of events that were sent: the first ones of the batch
   * @param {number} sent when they were sent
   * @param {number} now when the answer came
   */
  answered(answer, count, sent, now) {
    if (answer.date !== null) this.#serverTime.learn(answer.date, sent, now);
    const verdict = judge(answer, count);
    switch (verdict.meaning) {
      case "accepted":
        this.#greeted = true;
        this.#failures = 0;
        this.#outbox.accepted(count, now);
        this.#become(Status.READY, "info", `Reports reach ${this.#address}.`);
        break;
      case "later":
        this.#away(verdict.finding, verdict.retryAfter, now);
        break;
      case "content":
        this.#refused(verdict, count);
        break;
      case "tenant":
        this.#refusedTenant(verdict, count, now);
        break;
      default:
        this.#refusedAll(verdict, now);
    }
  }

  /**
   * Take note that a request got no answer, or could not be sent.
   * @param {string} finding
   * @param {number} now
   */
  failed(finding, now) {
    this.#away(finding, null, now);
  }

  /**
   * @param {string} finding
   * @param {number | null} retryAfter
   * @param {number} now
   */
  #away(finding, retryAfter, now) {
    this.#failures += 1;
    const jitter = this.#jitter();
    const seconds =
      retryAfter === null ? waits.afterFailure(this.#failures, jitter) : waits.afterRetryAfter(retryAfter, jitter);
    this.#wait(seconds, now);
    const kept = "Trying again; the last state of each breaker is kept.";
    this.#become(Status.AWAY, "warn", `${this.#address} takes no reports now: ${finding}. ${kept}`);
  }

  /**
   * @param {Verdict} verdict
   * @param {number} now
   */
  #refusedAll({ meaning, finding }, now) {
    this.#failures += 1;
    this.#greeted = false;
    // A token that has just ended is replaced by the function that returns tokens.
    const mayHaveEnded = meaning === "token" && this.#failures === 1;
    const jitter = this.#jitter();
    this.#wait(mayHaveEnded ? waits.afterFailure(1, jitter) : waits.afterRefusal(jitter), now);
    const text = `${this.#address} refuses reports: ${finding}. Trying again once a minute.`;
    this.#become(Status.REFUSED, "error", text);
  }

  /**
   * @param {Verdict} verdict
   * @param {number} count
   */
  #refused({ finding, wrong }, count) {
    const before = this.#outbox.droppedFor("refused");
    this.#outbox.refused(count, wrong);
    if (before === 0 && this.#outbox.droppedFor("refused") > 0) {
      this.#say("warn", `A report was dropped (refused): ${finding}. \`dropped\` counts further ones.`);
    }
  }

  /**
   * @param {Verdict} verdict
   * @param {number} count
   * @param {number} now
   */
  #refusedTenant({ finding, retryAfter }, count, now) {
    const jitter = this.#jitter();
    const seconds =
      retryAfter === null ? FORBIDDEN_SECONDS * (1 + jitter / 2) : waits.afterRetryAfter(retryAfter, jitter);
    const tenant = this.#outbox.refusedTenant(count, now + seconds);
    if (tenant !== null) {
      this.#say("warn", `Reports of tenant ${tenant} wait for ${Math.round(seconds)} s: ${finding}.`);
    }
  }

  /**
   * @param {number} seconds
   * @param {number} now
   */
  #wait(seconds, now) {
    this.#notBefore = now + (this.closing ? Math.min(seconds, waits.CLOSING_SECONDS) : seconds);
  }

  /**
   * @param {EmitterStatus} status
   * @param {Notice["level"]} level
   * @param {string} text
   */
  #become(status, level, text) {
    if (status === this.status) return;
    this.status = status;
    this.#say(level, text);
  }

  /**
   * @param {Notice["level"]} level
   * @param {string} text
   */
  #say(level, text) {
    this.#notices.push({ level, text });
  }

  /** Return the lines for the log since the last call. */
  notices() {
    const notices = this.#notices;
    this.#notices = [];
    return notices;
  }
}
