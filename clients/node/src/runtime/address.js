/** Checks of what a caller gives: the URL of the API, the token and the options. No error shows a secret. */

import { shown } from "../protocol/names.js";

// RFC 6750: what may follow `Bearer`.
const TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

/**
 * Return the URL of the API, without a slash at its end.
 * @param {unknown} url
 * @returns {URL}
 * @throws {TypeError} if it cannot be used; the text says why, and has no password.
 */
export function readUrl(url) {
  const text = String(url);
  if (!URL.canParse(text)) {
    throw new TypeError("url: it has no valid host and port; use one such as https://sleep.example");
  }
  const parsed = new URL(text);
  if (!["http:", "https:"].includes(parsed.protocol)) {
    throw new TypeError("url: it must start with http:// or https://, and name a host");
  }
  if (parsed.username !== "" || parsed.password !== "") {
    throw new TypeError("url: it must have no user and password; the token says who calls");
  }
  if (/[?#]/.test(text)) throw new TypeError("url: it must have nothing after ? or #");
  parsed.pathname = parsed.pathname.replace(/\/+$/, "");
  return parsed;
}

/**
 * Return the URL of a path of the API.
 * @param {URL} url
 * @param {string} path
 */
export function endpoint(url, path) {
  const endpoint = new URL(url);
  endpoint.pathname = `${url.pathname.replace(/\/+$/, "")}${path}`;
  return endpoint;
}

/**
 * Return a URL as it is logged: without a slash at its end.
 * @param {URL} url
 */
export function shownUrl(url) {
  return url.href.replace(/\/+$/, "");
}

/**
 * Return a token that a header may carry.
 * @param {unknown} token
 * @returns {string}
 * @throws {TypeError} if it cannot be used; the text says why, and not what it is.
 */
export function checkToken(token) {
  if (typeof token !== "string") throw new TypeError("token: it must be a string, or a function that returns one");
  if (token.toLowerCase().startsWith("bearer ")) throw new TypeError("token: give the token alone, without `Bearer`");
  if (!TOKEN.test(token)) throw new TypeError("token: it is empty, or has characters that no token has");
  return token;
}

/**
 * Check that options have no other names than these, so that a misspelt one is not ignored.
 * @param {object} options
 * @param {readonly string[]} names
 * @throws {TypeError}
 */
export function checkNames(options, names) {
  const other = Object.keys(options).find((name) => !names.includes(name));
  if (other !== undefined) throw new TypeError(`${shown(other, 40)} is no option; use ${names.join(", ")}`);
}

/**
 * Return a number of an option.
 * @param {string} name
 * @param {unknown} value
 * @param {number} least
 * @param {number} most
 * @returns {number}
 * @throws {TypeError} if it is none between these.
 */
export function checkNumber(name, value, least, most) {
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    throw new TypeError(`${name}: use ${least} to ${most}, not ${shown(value, 40)}`);
  }
  return value;
}
