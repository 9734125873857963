/** A monotonic clock that counts while the machine is suspended. */

import { uptime } from "node:os";

/** How often the two clocks are compared. So after a suspension answers may be late for so long. */
const COMPARED_SECONDS = 0.1;
/** Smaller differences are those of the readings. No suspension is so short. */
const LEAST_SECONDS = 0.5;

/**
 * Return a clock that adds to a fast one what a slow one has counted more.
 *
 * On Linux Node's monotonic clock stands still while the machine is suspended. `os.uptime()` does not, but it takes
 * much longer, and it counts hundredths of a second.
 * @param {() => number} fast in seconds
 * @param {() => number} slow in seconds
 * @returns {() => number}
 */
export function suspendClock(fast, slow) {
  let comparedAt = fast();
  let difference = slow() - comparedAt;
  let suspended = 0;
  return () => {
    const now = fast();
    if (now - comparedAt >= COMPARED_SECONDS || now < comparedAt) {
      comparedAt = now;
      const found = slow() - now;
      if (found - difference > LEAST_SECONDS) {
        suspended += found - difference;
        difference = found;
      }
    }
    return now + suspended;
  };
}

const monotonic = () => performance.now() / 1000;

/** Return the seconds since some moment. The wall clock does not matter. */
const seconds = process.platform === "linux" ? suspendClock(monotonic, uptime) : monotonic;

/**
 * What a client takes from the machine: the clock, and random numbers from 0 to 1. Jitter keeps clients from calling in
 * step; it protects nothing.
 * @typedef {{clock: () => number, jitter: () => number}} Machine
 */

/** @type {Machine} */
export const MACHINE = Object.freeze({ clock: seconds, jitter: Math.random });
