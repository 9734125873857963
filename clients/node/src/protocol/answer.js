/** An answer of the server, and what is readable in it. */

const LATER = new Set([408, 425, 429]);
const SERVER_ERROR = 500;
const SECONDS = /^[0-9]{1,9}$/;
const SHOWN = 300;
const UNPRINTABLE = /[^ -~\u00a1-\ud7ff\ue000-\uffff]+/g;

export class Answer {
  /**
   * @param {number} status of HTTP
   * @param {ReadonlyMap<string, string>} headers names in lower case
   * @param {string} body its first 64 KiB
   */
  constructor(status, headers, body) {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }

  /** The server's time in seconds since the epoch; null if the answer has none. */
  get date() {
    const milliseconds = Date.parse(this.headers.get("date") ?? "");
    return Number.isFinite(milliseconds) ? milliseconds / 1000 : null;
  }

  /**
   * The body as a JSON object, empty if it is none.
   * @returns {Record<string, unknown>}
   */
  get document() {
    try {
      const document = JSON.parse(this.body);
      return isObject(document) ? document : {};
    } catch {
      return {};
    }
  }

  /** `Retry-After` in seconds, null for anything else. The server sends no dates. */
  get retryAfter() {
    const value = this.headers.get("retry-after");
    return value !== undefined && SECONDS.test(value) ? Number(value) : null;
  }

  /** Whether the same request may succeed later. */
  get passes() {
    return LATER.has(this.status) || this.status >= SERVER_ERROR;
  }

  /** Status, code and detail, for people. */
  get finding() {
    const document = this.document;
    const words = [document.code, document.detail].filter((word) => typeof word === "string");
    return [`HTTP ${this.status}`, ...words].join(": ").replace(UNPRINTABLE, " ").slice(0, SHOWN);
  }
}

/**
 * Tell whether a value of JSON is an object.
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
export function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
