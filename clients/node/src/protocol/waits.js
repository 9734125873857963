/** How long to wait before the next attempt, in seconds. `jitter` is a random number from 0 to 1 everywhere. */

/** The longest wait after a failure. 500 pods then make about 40 requests a second to a server that is away. */
export const MOST_SECONDS = 16;
/**
 * The wait after an answer that only a person can change, such as 401. 500 pods stay below the server's default budget
 * of 600 refused requests a minute.
 */
export const REFUSED_SECONDS = 60;
export const MOST_RETRY_AFTER = 300;
/** The longest wait while the emitter closes, which is bounded as a whole. */
export const CLOSING_SECONDS = 0.5;

/**
 * Return the wait after a number of failures in a row: 1 s, doubled each time, at most 16 s, half of it random.
 * @param {number} failures
 * @param {number} jitter
 */
export function afterFailure(failures, jitter) {
  const longest = Math.min(2 ** Math.min(failures - 1, 10), MOST_SECONDS);
  return (longest * (1 + jitter)) / 2;
}

/**
 * Return the wait after an answer that only a person can change: about a minute.
 * @param {number} jitter
 */
export function afterRefusal(jitter) {
  return REFUSED_SECONDS * (1 + jitter / 2);
}

/**
 * Return the wait that the server asked for, and up to half as long again, so that callers come back spread out.
 * @param {number} seconds
 * @param {number} jitter
 */
export function afterRetryAfter(seconds, jitter) {
  return Math.max(1, Math.min(seconds, MOST_RETRY_AFTER)) * (1 + jitter / 2);
}

/**
 * Return the period of an emitter's repeats: a tenth of it is random, so that emitters do not repeat in step.
 * @param {number} repeatSeconds
 * @param {number} jitter
 */
export function repeatPeriod(repeatSeconds, jitter) {
  return repeatSeconds * (1 - jitter / 10);
}
