/**
 * Bytes of server-sent events.
 * @typedef {object} Event
 * @property {string} name "" for a comment, or for what has only an id
 * @property {string} data as it came, the lines joined
 * @property {string | null} id null if it came without one
 */

import { BadStreamError } from "./errors.js";

/** What one event may have, in characters. A record of the server is smaller than 256 KiB. */
export const MOST_CHARACTERS = 2_097_152;

/** Cuts a stream of bytes into events. What is not complete waits. */
export class EventParser {
  #decoder = new TextDecoder("utf-8", { fatal: true });
  #left = "";
  #return = "";

  /**
   * Take bytes and return the events that are complete now.
   * @param {Uint8Array} chunk
   * @returns {Event[]}
   * @throws {BadStreamError} if an event is too long, or is no text.
   */
  feed(chunk) {
    let text = this.#return + this.#decode(chunk);
    this.#return = "";
    if (text.includes("\r")) {
      // The format allows three kinds of line ends; one may be cut between two chunks.
      if (text.endsWith("\r")) {
        this.#return = "\r";
        text = text.slice(0, -1);
      }
      text = text.replace(/\r\n?/g, "\n");
    }
    const blocks = (this.#left + text).split("\n\n");
    this.#left = blocks.pop() ?? "";
    if (this.#left.length > MOST_CHARACTERS) {
      throw new BadStreamError(`an event has more than ${MOST_CHARACTERS} characters`);
    }
    return blocks.map(readEvent).filter((event) => event !== null);
  }

  /** @param {Uint8Array} chunk */
  #decode(chunk) {
    try {
      return this.#decoder.decode(chunk, { stream: true });
    } catch {
      throw new BadStreamError("it sends bytes that are no text");
    }
  }
}

/**
 * Return what a block says, without the empty line after it; null for a comment or a wait.
 * @param {string} block
 * @returns {Event | null}
 */
function readEvent(block) {
  let name = "";
  /** @type {string | null} */
  let id = null;
  const data = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") data.push(value);
    else if (field === "event") name = value;
    else if (field === "id" && !value.includes("\0")) id = value;
  }
  if (data.length === 0 && id === null) return null;
  return { name: data.length > 0 ? name : "", data: data.join("\n"), id };
}
