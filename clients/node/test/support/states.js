/** Events of a stream of states, and a server without sockets that sends them. */

import { readFileSync } from "node:fs";

export const VECTORS = JSON.parse(
  readFileSync(new URL("../../../../schemas/json/reader.vectors.json", import.meta.url), "utf8"),
);
export const T = 1_795_334_400_000;
export const DEFAULTS = VECTORS.streams
  .find(({ name }) => name === "new rules of one partition")
  .steps.filter(({ event, data }) => event === "rules" && data.partition === 1)
  .slice(0, 2)
  .map(({ data }) => data.active);

/** Return a public record of the vectors, by the name of its case, at an offset. */
export function record(name, tenant = "acme", offset = 42) {
  const { record } = VECTORS.records.find((each) => each.name === `${name}; policy: rules`);
  return { ...record, tenant, position: `0:${offset}` };
}

export const event = (name, data, id) =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

/** Return the rules of the only partition. */
export const rules = (number = 0, offset = null) =>
  event("rules", {
    partition: 0,
    partitions: 1,
    number,
    position: offset === null ? null : `0:${offset}`,
    active: DEFAULTS[number],
  });

/** Return the state of a tenant: by default one whose breaker opened at `T`, with a lease of 900 s. */
export const state = (tenant, document = record("one breaker", tenant)) => event("state", document);

export const ready = (now = T, id = "7") => event("ready", { now }, id);

/** Return a snapshot in which these tenants are frozen. */
export const snapshot = (tenants, now = T, id = "7") =>
  rules() + tenants.map((tenant) => state(tenant)).join("") + ready(now, id);

export const bytes = (text) => new TextEncoder().encode(text);

/** Return a token that ends at a time, in seconds since the epoch. */
export function token(exp, name = "reader") {
  const parts = [{}, { exp, sub: name }].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"));
  return [...parts, "signature"].join(".");
}

/** Collects lines of the log. */
export class Lines {
  lines = [];
  info = (text) => this.lines.push(["info", text]);
  warn = (text) => this.lines.push(["warn", text]);
  error = (text) => this.lines.push(["error", text]);
}

/** Wait until what runs in other turns has made a condition true. No time passes: it fails after many turns. */
export async function until(condition, turns = 20_000) {
  for (let turn = 0; !(await condition()); turn += 1) {
    if (turn > turns) throw new Error(`it does not become true: ${condition}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** One answer's bytes, which a test sends. */
class Stream {
  closed = false;

  constructor(url, init) {
    this.url = new URL(url);
    this.headers = init.headers;
    this.redirect = init.redirect;
    this.body = new ReadableStream({
      start: (controller) => {
        this.controller = controller;
      },
      cancel: () => {
        this.closed = true;
      },
    });
    init.signal.addEventListener("abort", () => this.break(init.signal.reason));
  }

  send(text) {
    this.controller.enqueue(typeof text === "string" ? bytes(text) : text);
  }

  break(error) {
    if (!this.closed) {
      this.closed = true;
      this.controller.error(error);
    }
  }

  end() {
    this.closed = true;
    this.controller.close();
  }
}

/** Answers with streams, or with what a test says. */
export class StatesServer {
  streams = [];
  answers = [];
  requests = 0;
  #taken = 0;

  fetch = async (url, init) => {
    this.requests += 1;
    const answer = this.answers.shift();
    if (answer !== undefined) return answer();
    const stream = new Stream(url, init);
    this.streams.push(stream);
    return new Response(stream.body, { status: 200, headers: { "content-type": "text/event-stream; charset=utf-8" } });
  };

  /** Return the next stream, once it is opened. */
  async next() {
    await until(() => this.streams.length > this.#taken);
    this.#taken += 1;
    return this.streams[this.#taken - 1];
  }

  /** Answer the next request with a problem. */
  refuse(status, document, headers = {}) {
    this.answers.push(() => new Response(JSON.stringify(document), { status, headers }));
  }
}
