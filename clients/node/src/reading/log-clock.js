/** The time of the log, by a local monotonic clock. */

/** Of how many times the latest one counts. The server sends one every 15 s, so they span two minutes. */
const MOST = 8;

/**
 * Counts on from the times that the stream brings.
 *
 * A time is late by the duration of its way, which differs. So of the last ones that counts which is the furthest
 * ahead. The local wall clock is not read at all: it may be wrong, and may be set at any time.
 */
export class LogClock {
  /** @type {number[]} */
  #offsets = [];
  #offset = 0;

  /**
   * Take the log's time, which came at a moment of the local clock.
   * @param {number} logMs milliseconds
   * @param {number} local seconds
   */
  learn(logMs, local) {
    this.#offsets.push(logMs - local * 1000);
    if (this.#offsets.length > MOST) this.#offsets.shift();
    this.#offset = Math.max(...this.#offsets);
  }

  /**
   * Return the log's time in milliseconds at a moment of the local clock.
   * @param {number} local seconds
   * @returns {number}
   */
  at(local) {
    return Math.floor(this.#offset + local * 1000);
  }
}
