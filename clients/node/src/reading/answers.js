/**
 * What an answer of the server means for a reader.
 *
 * - `accepted`: the stream follows.
 * - `later`: try again later.
 * - `content`: the stream cannot be understood.
 * - `token`: the token is not accepted. It may just have ended.
 * - `person`: only a person can change it.
 * @typedef {"accepted" | "later" | "content" | "token" | "person"} Meaning
 */

/**
 * An answer as it concerns a reader: its meaning, the reason for people, and the seconds that it asks to wait.
 * @typedef {{meaning: Meaning, finding: string, retryAfter: number | null}} Verdict
 */

export const PATH = "/api/states/events";
export const CONTENT_TYPE = "text/event-stream";

/**
 * @param {Meaning} meaning
 * @param {string} [finding]
 * @param {number | null} [retryAfter]
 * @returns {Verdict}
 */
export function verdict(meaning, finding = "", retryAfter = null) {
  return { meaning, finding, retryAfter };
}

/**
 * Return what an answer means. Its body counts only if it is no stream.
 * @param {import("../protocol/answer.js").Answer} answer
 * @returns {Verdict}
 */
export function judge(answer) {
  const { status, finding } = answer;
  if (status === 200 && isStream(answer.headers.get("content-type"))) {
    if ((answer.headers.get("content-encoding") ?? "identity") !== "identity") {
      return verdict("person", "a proxy compresses the stream; configure it to pass on events as they come");
    }
    return verdict("accepted");
  }
  if (status === 401) return verdict("token", `${finding}; check the token`);
  if (answer.passes) return verdict("later", finding, answer.retryAfter);
  return verdict("person", `${finding}; ${hint(status)}`);
}

/**
 * Tell whether a content type is that of a stream of events.
 * @param {string | undefined} type
 */
export function isStream(type) {
  return (type ?? "").split(";", 1)[0]?.trim().toLowerCase() === CONTENT_TYPE;
}

/** @param {number} status */
function hint(status) {
  if (status === 403) {
    return "the token needs the scope sleep:read-any, or with `tenants` the right to read each of them";
  }
  if (status === 404) return "check the URL; a server of Somabrain Sleep that is too old has no stream of states";
  return "check the URL, and whether a server of Somabrain Sleep answers there";
}
