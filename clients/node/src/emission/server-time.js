/**
 * The time of the server, by a local monotonic clock.
 *
 * The server gives its time only as the `Date` of each answer: whole seconds, which it renews once a second. So at the
 * end of an exchange the server's clock shows at least `Date`, and at most `Date`, two seconds and the duration of the
 * exchange. Each answer narrows the difference of the two clocks to such an interval, and intervals of several answers
 * narrow it further. The lower end is used: a stamp may be up to two seconds early, and is never ahead of the server.
 *
 * The local wall clock is not read at all. So it may be wrong, and may be set at any time.
 */

/** How old a `Date` may be: 1 s since it is cut to seconds, and 1 s until it is renewed. */
const STALE_SECONDS = 2;

/** What is known about the server's clock. */
export class ServerTime {
  #lowest = -Infinity;
  #highest = Infinity;

  /**
   * Use the `Date` of an answer.
   *
   * If it contradicts earlier answers, one of the clocks was set or has drifted, and the newest answer counts.
   * @param {number} date seconds since the epoch
   * @param {number} sent when the request was sent, in seconds of the local clock
   * @param {number} received when the answer came, in the same
   */
  learn(date, sent, received) {
    const lowest = date - received;
    const highest = date + STALE_SECONDS - sent;
    const contradicts = lowest > this.#highest || highest < this.#lowest;
    this.#lowest = contradicts ? lowest : Math.max(lowest, this.#lowest);
    this.#highest = contradicts ? highest : Math.min(highest, this.#highest);
  }

  /**
   * Return the server's time at a moment of the local clock, in milliseconds since the epoch.
   *
   * Null if no answer had a usable `Date`, or if the moment would lie before 1970, which the server refuses.
   * @param {number} local
   * @returns {number | null}
   */
  at(local) {
    if (this.#lowest === -Infinity) return null;
    const milliseconds = Math.floor((this.#lowest + local) * 1000);
    return milliseconds >= 0 ? milliseconds : null;
  }
}
