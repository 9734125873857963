/**
 * The log of the client.
 * @typedef {import("../../index.js").Logger} Logger
 * @typedef {import("../reading/session.js").Notice} Notice
 */

/** Shorter tokens are no secrets, and may be part of any word. */
const SHORTEST_SECRET = 8;

/**
 * Where lines go by default: to stderr, and without information, as programs expect it of a library.
 * @type {Logger}
 */
export const STANDARD_LOGGER = Object.freeze({
  info() {},
  warn: (/** @type {string} */ text) => console.warn(text),
  error: (/** @type {string} */ text) => console.error(text),
});

/**
 * Return a logger that a caller gave.
 * @param {unknown} logger
 * @returns {Logger}
 * @throws {TypeError} if it is none.
 */
export function checkLogger(logger) {
  const given = /** @type {Record<string, unknown>} */ (Object(logger));
  if (!["info", "warn", "error"].every((level) => typeof given[level] === "function")) {
    throw new TypeError("logger: use an object with the methods info, warn and error, such as `console`");
  }
  return /** @type {Logger} */ (logger);
}

/**
 * Log lines, without the token: a server or a proxy may show the headers of a request in its answer.
 * @param {Logger} logger
 * @param {readonly Notice[]} notices
 * @param {string} token
 */
export function write(logger, notices, token) {
  for (const { level, text } of notices) {
    try {
      logger[level](`sleep-client: ${withoutToken(text, token)}`);
    } catch {
      // A logger that throws must not end the stream or the reports. There is nowhere else to say it.
    }
  }
}

/**
 * Return a text in which a token that may be a secret is replaced.
 * @param {string} text
 * @param {string} token
 */
export function withoutToken(text, token) {
  return token.length >= SHORTEST_SECRET ? text.replaceAll(token, "[token]") : text;
}
