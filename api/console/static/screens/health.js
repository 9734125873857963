// Partitions, dependencies and dead letters, each with what it means and what to do.

import { useEffect, useState } from "../vendor/hooks.js";
import { root } from "../io/api.js";
import { html, Copy, Empty, Failure, Time, useLoad } from "../parts/ui.js";
import { parseMetrics, readersOf } from "../pure/metrics.js";

const EVERY_MS = 5000;
/** What a finding means, and its cure: pages that the console brings along. */
const RUNBOOKS = {
  kafka: "README.html#status-is-503-kafka-or-redis",
  redis: "README.html#status-is-503-kafka-or-redis",
  transitions: "README.html#status-is-503-kafka-or-redis",
  states: "README.html#status-is-503-kafka-or-redis",
  opa: "README.html#status-of-the-api-is-503-opa-or-jwks",
  jwks: "README.html#status-of-the-api-is-503-opa-or-jwks",
};
const OTHERS = {
  all: "README.html",
  degraded: "README.html#status-of-the-api-is-degraded",
  standing: "alerts.html#sleepstandingpartition",
  unowned: "alerts.html#sleeppartitionwithoutowner",
  rebuild: "rebuild.html",
  dead: "dead-letters.html",
};

/** A link to a runbook, in a window of its own, so that the session stays. */
function Runbook({ page, children }) {
  return html`<a href=${`runbooks/${page}`} target="_blank" rel="noopener">${children}<span class="unseen"> (opens a new window)</span></a>`;
}

export function Health({ api, permissions }) {
  const [round, setRound] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setRound((n) => n + 1), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return html`<h1>Health</h1>
    <p class="hint">Asked again every ${EVERY_MS / 1000} seconds.</p>
    <section aria-labelledby="dependencies"><h2 id="dependencies">This API process</h2><${Dependencies} round=${round} /></section>
    ${permissions.may("inspect", null)
      ? html`<section aria-labelledby="partitions"><h2 id="partitions">Partitions</h2><${Partitions} api=${api} round=${round} /></section>
        <section aria-labelledby="dead"><h2 id="dead">Dead letters</h2><${DeadLetters} api=${api} /></section>`
      : html`<${Empty}>Partitions and dead letters need the scope <code>sleep:operate</code>.<//>`}`;
}

/** Load again with each round. */
function useRounds(load, round) {
  const loaded = useLoad(load, "");
  useEffect(() => {
    if (round > 0) loaded.again();
  }, [round]);
  return loaded;
}

async function page(path, signal, read) {
  try {
    const response = await fetch(root() + path, { signal, credentials: "omit", cache: "no-store" });
    return read(await response.text());
  } catch (error) {
    if (signal.aborted) throw error;
    throw Object.assign(new Error("The API does not answer."), { title: "The connection is lost", status: 0, errors: [] });
  }
}

function Dependencies({ round }) {
  // `/status` is 503 where something is bad, and says what in its body.
  const loaded = useRounds((signal) => page("/status", signal, JSON.parse), round);
  const metrics = useRounds((signal) => page("/metrics", signal, parseMetrics), round);
  if (loaded.problem) return html`<${Failure} problem=${loaded.problem} retry=${loaded.again} />`;
  if (!loaded.document) return html`<p class="loading">…</p>`;
  const { status, dependencies = {}, warnings = [] } = loaded.document;
  const readers = metrics.document ? readersOf(metrics.document) : null;
  return html`<p>Status: <strong>${status}</strong>${readers !== null && html`, ${readers} readers of streams connected`}.</p>
    <div class="scroll" tabindex="0" role="region" aria-label="Dependencies"><table><thead><tr><th scope="col">dependency</th><th scope="col">up</th><th scope="col">finding</th></tr></thead>
    <tbody>${Object.entries(dependencies).map(([name, one]) => html`<tr><th scope="row">${name}</th><td>${one.up ? "yes" : html`<strong class="wrong">no</strong>`}</td><td class="break">${one.finding}${!one.up && html` <${Runbook} page=${Object.hasOwn(RUNBOOKS, name) ? RUNBOOKS[name] : OTHERS.all}>meaning and cure<//>`}</td></tr>`)}</tbody></table></div>
    ${warnings.map((text) => html`<p class="note break">${text} <${Runbook} page=${OTHERS.degraded}>meaning and cure<//></p>`)}
    <p class="hint"><${Runbook} page=${OTHERS.all}>Runbooks<//> say what a finding means, and <${Runbook} page="alerts.html">alerts<//> what an alert does.</p>`;
}

function Partitions({ api, round }) {
  const loaded = useRounds((signal) => api.get("/api/partitions", { signal }), round);
  if (loaded.problem) return html`<${Failure} problem=${loaded.problem} retry=${loaded.again} />`;
  if (!loaded.document) return html`<p class="loading">…</p>`;
  const { partitions, owners } = loaded.document;
  const wrong = partitions.filter((one) => one.finding !== null);
  return html`${owners && html`<p class="note break">Kafka does not say who owns the partitions: ${owners}</p>`}
    <p>${wrong.length === 0 ? "No partition has a finding." : html`<strong class="wrong">${wrong.length} of ${partitions.length} partitions have a finding.</strong> If they do not recover: <${Runbook} page=${OTHERS.rebuild}>rebuild<//>.`}</p>
    <div class="scroll" tabindex="0" role="region" aria-label="Partitions"><table><thead><tr><th scope="col">partition</th><th scope="col">lag</th><th scope="col">next</th><th scope="col">end</th><th scope="col">owner</th><th scope="col">finding</th></tr></thead>
    <tbody>${partitions.map((one) => html`<tr key=${one.partition}><th scope="row">${one.partition}</th><td>${one.lag}</td><td>${one.position}</td><td>${one.end}</td><td class="break">${one.owner ? `${one.owner.client} at ${one.owner.host}` : owners ? "unknown" : html`<strong class="wrong">none</strong> <${Runbook} page=${OTHERS.unowned}>cure<//>`}</td><td class="break">${one.finding === null ? "fine" : html`${one.finding} <${Runbook} page=${OTHERS.standing}>meaning and cure<//>`}</td></tr>`)}</tbody></table></div>`;
}

function DeadLetters({ api }) {
  const [state, setState] = useState({ letters: [], cursor: "", loading: true, problem: null, until: undefined, unreadable: 0 });
  const more = async (cursor, signal) => {
    setState((old) => ({ ...old, loading: true, problem: null }));
    try {
      const query = new URLSearchParams({ limit: "50", ...(cursor ? { cursor } : {}) });
      const page = await api.get(`/api/deadletters?${query}`, { signal });
      setState((old) => ({ letters: [...(cursor ? old.letters : []), ...page.dead_letters], cursor: page.cursor, unreadable: (cursor ? old.unreadable : 0) + page.unreadable, loading: false, problem: null, until: page.searched_until }));
    } catch (problem) {
      if (!signal?.aborted) setState((old) => ({ ...old, loading: false, problem }));
    }
  };
  useEffect(() => {
    const ended = new AbortController();
    more("", ended.signal);
    return () => ended.abort();
  }, []);
  return html`
    ${state.letters.length === 0 && !state.loading && !state.problem && html`<${Empty}>No dead letters${state.cursor === null ? "" : " in what was searched"}${state.unreadable ? "" : ": every record could be used"}.<//>`}
    ${state.unreadable > 0 && html`<p class="hint">${state.unreadable} records of this topic cannot be read, and are not shown.</p>`}
    ${state.letters.length > 0 && html`<ul class="cards">${state.letters.map((one) => html`<li key=${one.place}>
      <strong>${one.code}</strong> <${Time} at=${one.written_at} now=${api.now()} />${one.records > 1 && html` <span class="tag">${one.records} records</span>`}
      <div class="break">${one.message}</div>
      <div class="hint break">from ${one.topic} ${one.position}${one.key === null ? "" : `, key ${one.key}`}, ${one.size} bytes</div>
      <${Copy} label="redrive" text=${one.redrive} />
    </li>`)}</ul><p class="hint"><${Runbook} page=${OTHERS.dead}>What each code means<//>, and how to put a letter back.</p>`}
    ${state.problem && html`<${Failure} problem=${state.problem} retry=${() => more(state.cursor)} />`}
    ${state.loading ? html`<p class="loading" role="status">Reading …</p>` : html`<p>${state.cursor !== null && html`<button type="button" onClick=${() => more(state.cursor)}>Older ones</button> `}<button type="button" onClick=${() => more("")}>Read again</button></p>`}`;
}
