// Parts that all screens share. Text goes into the page as text, never as markup.

import { h } from "../vendor/preact.js";
import { useCallback, useEffect, useRef, useState } from "../vendor/hooks.js";
import htm from "../vendor/htm.js";
import { duration, localTime, utcTime } from "../pure/time.js";

export const html = htm.bind(h);

/** A time in the reader's zone, with UTC on hover and for a screen reader. */
export function Time({ at, now }) {
  if (at === null || at === undefined) return html`<span>never</span>`;
  return html`<time datetime=${utcTime(at)} title=${`${utcTime(at)} (UTC)`}>${localTime(at, now)}</time>`;
}

const MARKS = { active: "○", light: "◔", deep: "◑", freeze: "●" };

/** A state: a mark and a word, so that nobody needs the colour. */
export function State({ state }) {
  return html`<span class=${`state state-${state}`}><span aria-hidden="true">${MARKS[state] ?? "?"}</span> ${state}</span>`;
}

/** What went wrong, in the server's words, and what to do. */
export function Failure({ problem, retry }) {
  const advice =
    problem.status === 403
      ? "Your token does not allow this. Sign in with another token, or ask an operator."
      : problem.status === 0 || problem.status >= 500
        ? "The console tries again by itself where it can. Health shows what the API knows."
        : "";
  return html`<div class="failure" role="alert">
    <strong>${problem.title}</strong>
    <p>${problem.message}</p>
    ${problem.errors.length > 0 && html`<ul>${problem.errors.map((one) => html`<li><code>${one.field}</code>: ${one.reason}</li>`)}</ul>`}
    ${advice && html`<p>${advice}</p>`}
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

/** Nothing to show, and what to do then. */
export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

/** Whether what is shown is live. `link` is `{live, problem, since, wait}`. */
export function Link({ link }) {
  if (link.refused) return html`<span class="link link-lost" role="status">not live: refused</span>`;
  if (link.live) return html`<span class="link link-live" role="status"><span aria-hidden="true">●</span> live</span>`;
  if (!link.problem) return html`<span class="link" role="status">connecting …</span>`;
  return html`<span class="link link-lost" role="status">not live since <${Time} at=${link.since} now=${link.since} />, trying again</span>`;
}

/** A command to copy. */
export function Copy({ label, text }) {
  const [done, setDone] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone("copied");
    } catch {
      setDone("select the text and copy it");
    }
  };
  return html`<div class="copy">
    <div class="copy-head"><span>${label}</span> <button type="button" onClick=${copy}>Copy<span class="unseen"> as ${label}</span></button> <span role="status">${done}</span></div>
    <pre tabindex="0">${text}</pre>
  </div>`;
}

/** Load something, again when `key` changes; `{document, problem, loading, again}`. */
export function useLoad(load, key) {
  const [result, setResult] = useState({ document: null, problem: null, loading: true, key: null });
  const [count, setCount] = useState(0);
  useEffect(() => {
    const ended = new AbortController();
    setResult((old) => ({ ...old, loading: true, document: old.key === key ? old.document : null, problem: null, key }));
    load(ended.signal).then(
      (document) => !ended.signal.aborted && setResult({ document, problem: null, loading: false, key }),
      (problem) => !ended.signal.aborted && setResult((old) => ({ ...old, problem, loading: false })),
    );
    return () => ended.abort();
  }, [key, count]);
  const again = useCallback(() => setCount((n) => n + 1), []);
  return { ...result, again };
}

/** Draw again every second, for what counts down. */
export function useSecond() {
  const [, setCount] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setCount((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
}

/** Draw after changes, and no sooner than `wait()` milliseconds after the first of them. */
export function useThrottled(wait = () => 100) {
  const [, setCount] = useState(0);
  const timer = useRef(null);
  const latest = useRef(wait);
  latest.current = wait;
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current !== null) return;
    timer.current = setTimeout(() => {
      timer.current = null;
      setCount((n) => n + 1);
    }, latest.current());
  }, []);
}

export { duration };
