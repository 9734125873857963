// Server-sent events over `fetch`, since `EventSource` sends no header. It connects again until it is closed.

import { createParser } from "../vendor/eventsource-parser.js";
import { Problem, root } from "./api.js";

/** The API sends something every 15 s; a stream that is silent for longer is lost, whatever the socket says. */
export const SILENT_MS = 35000;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;
/** An event larger than this is not of the API; the connection is cut. */
const LARGEST = 4_000_000;

/**
 * Follow a stream. `on` has `connect(resumes)`, `event(name, data)`, and `lost(problem, waitMs)`. A refusal that does not
 * pass (4xx but 429) calls `refused(problem)` and ends it. Returns a function that ends it.
 */
export function follow(api, path, on) {
  const ended = new AbortController();
  run(api, path, on, ended.signal);
  return () => ended.abort();
}

async function run(api, path, on, ended) {
  let lastId = "";
  let tries = 0;
  while (!ended.aborted) {
    let problem;
    let wait;
    try {
      const renewed = await connect(api, path, lastId, ended, on, (id) => (lastId = id), () => (tries = 0));
      // A stream ends with its token. With a new one it goes on at once.
      if (renewed) continue;
      problem = new Problem(0, { title: "The stream ended", detail: "The API ended the stream." }, null);
    } catch (error) {
      if (ended.aborted) return;
      problem = error instanceof Problem ? error : new Problem(0, { title: "The connection is lost", detail: "The API does not answer." }, null);
      wait = problem.retryAfter ? problem.retryAfter * 1000 : undefined;
    }
    if (ended.aborted) return;
    if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) {
      if (problem.status === 401) {
        if (await api.renew()) continue;
        api.onUnauthorised(problem.message);
      }
      on.refused(problem);
      return;
    }
    wait ??= Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** tries);
    wait *= 0.75 + Math.random() / 2;
    tries += 1;
    on.lost(problem, wait);
    await pause(wait, ended);
  }
}

/** Read one connection to its end; true if it ended because the token was renewed. */
async function connect(api, path, lastId, ended, on, setId, opened) {
  const cut = new AbortController();
  let renewed = false;
  const forget = api.onRenewed(() => {
    renewed = true;
    cut.abort();
  });
  const signal = AbortSignal.any([ended, cut.signal]);
  let silent = setTimeout(() => cut.abort(), SILENT_MS);
  try {
    const headers = { Authorization: `Bearer ${api.token}`, Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
    const response = await fetch(root() + path, { headers, signal, credentials: "omit", cache: "no-store" });
    if (!response.ok) throw await problemOf(response);
    on.connect(Boolean(lastId));
    const parser = createParser({
      onEvent({ event, data, id }) {
        if (id !== undefined) setId(id);
        if (!data) return;
        opened();
        on.event(event ?? "message", JSON.parse(data));
      },
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let pending = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return renewed;
      clearTimeout(silent);
      silent = setTimeout(() => cut.abort(), SILENT_MS);
      pending = value.includes("\n\n") ? 0 : pending + value.length;
      if (pending > LARGEST) throw new Problem(0, { title: "The stream is broken", detail: "An event is too large." }, null);
      parser.feed(value);
    }
  } catch (error) {
    if (renewed && !ended.aborted) return true;
    throw error;
  } finally {
    forget();
    clearTimeout(silent);
    cut.abort();
  }
}

async function problemOf(response) {
  let document = {};
  try {
    document = await response.json();
  } catch {
    document = { detail: `HTTP ${response.status}` };
  }
  return new Problem(response.status, document, Number(response.headers.get("retry-after")) || null);
}

function pause(ms, ended) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    ended.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
