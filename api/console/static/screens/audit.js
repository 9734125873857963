// The audit: who slept a tenant, why, and who was refused.

import { useEffect, useState } from "../vendor/hooks.js";
import { html, Empty, Failure, Time } from "../parts/ui.js";
import { addressOf, ROW_KINDS } from "../pure/address.js";
import { parseLocal, toField } from "../pure/time.js";
import { rowSentence } from "../pure/words.js";

export function Audit({ api, permissions, filters }) {
  // A token that may not search all tenants searches its own.
  const all = permissions.may("audit", null);
  const named = filters.tenant ?? (all ? undefined : permissions.tenant ?? undefined);
  if (named === undefined ? !all : !permissions.may("audit", named)) {
    return html`<h1>Audit</h1><${Empty}>Your token does not show the audit of ${named ?? "all tenants"}. ${permissions.tenant && html`<a href=${addressOf("audit", { filters: { tenant: permissions.tenant } })}>Show your own</a>`}<//>`;
  }
  const query = { ...filters, ...(named === undefined ? {} : { tenant: named }) };
  return html`<h1>Audit</h1>
    <${Search} filters=${query} all=${all} />
    <${Rows} key=${JSON.stringify(query)} api=${api} filters=${query} />`;
}

function Search({ filters, all }) {
  const [draft, setDraft] = useState(filters);
  useEffect(() => setDraft(filters), [JSON.stringify(filters)]);
  const set = (name) => (event) => setDraft({ ...draft, [name]: event.currentTarget.value });
  const setTime = (name) => (event) => setDraft({ ...draft, [name]: parseLocal(event.currentTarget.value) ?? "" });
  const search = (event) => {
    event.preventDefault();
    location.hash = addressOf("audit", { filters: draft });
  };
  return html`<form class="filters" aria-label="Search" onSubmit=${search}>
    <label>Tenant<input type="search" maxlength="128" required=${!all} value=${draft.tenant ?? ""} onInput=${set("tenant")} /></label>
    <label>Actor<input type="search" maxlength="256" value=${draft.actor ?? ""} onInput=${set("actor")} /></label>
    <label>Kind<select value=${draft.kind ?? ""} onChange=${set("kind")}><option value="">any</option>${ROW_KINDS.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
    <label>From<input type="datetime-local" step="1" value=${toField(draft.from)} onChange=${setTime("from")} /></label>
    <label>To<input type="datetime-local" step="1" value=${toField(draft.to)} onChange=${setTime("to")} /></label>
    <button type="submit" class="main">Search</button>
  </form>`;
}

const MOST_EMPTY_PAGES = 10;

function Rows({ api, filters }) {
  const [state, setState] = useState({ rows: [], cursor: "", until: undefined, unreadable: 0, loading: true, problem: null });
  const more = async (from, signal) => {
    setState((old) => ({ ...old, loading: true, problem: null }));
    try {
      let cursor = from.cursor;
      const found = [];
      let page;
      let unreadable = 0;
      // A page looks at a bounded number of records and may have no row; a few such pages are passed over.
      for (let pages = 0; pages < MOST_EMPTY_PAGES; pages += 1) {
        const query = new URLSearchParams({ ...filters, limit: "100", ...(cursor ? { cursor } : {}) });
        page = await api.get(`/api/audit?${query}`, { signal });
        found.push(...page.rows);
        unreadable += page.unreadable;
        cursor = page.cursor;
        if (found.length > 0 || cursor === null) break;
      }
      setState((old) => ({ rows: [...old.rows, ...found], cursor, until: page.searched_until, unreadable: old.unreadable + unreadable, loading: false, problem: null }));
    } catch (problem) {
      if (!signal?.aborted) setState((old) => ({ ...old, loading: false, problem }));
    }
  };
  useEffect(() => {
    const ended = new AbortController();
    more(state, ended.signal);
    return () => ended.abort();
  }, []);
  const now = api.now();
  return html`
    ${state.rows.length > 0 && html`<ol class="rows audit" aria-label="Rows, the newest first">${state.rows.map((row) => html`<li key=${row.id} class=${`kind-${row.kind}`}>
      <${Time} at=${row.at} now=${now} /> <a class="break" href=${addressOf("tenant", { tenant: row.tenant, filters: { at: row.at } })}>${row.tenant}</a> <span class="break">${rowSentence(row)}</span> ${row.reason && html`<q class="break">${row.reason}</q>`} <span class="hint">${row.id}${row.operation_id ? html`, operation <code class="break">${row.operation_id}</code>` : ""}</span>
    </li>`)}</ol>`}
    ${state.rows.length === 0 && !state.loading && !state.problem && html`<${Empty}>No row fits${state.until === null ? ", and all that are kept were searched. Rows are kept for 30 days." : " in what was searched so far."}<//>`}
    ${state.unreadable > 0 && html`<p class="hint">${state.unreadable} records were passed over, since they are no rows.</p>`}
    ${state.problem && html`<${Failure} problem=${state.problem} retry=${() => more(state)} />`}
    ${state.loading ? html`<p class="loading" role="status">Searching …</p>` : state.cursor !== null && !state.problem && html`<p><button type="button" onClick=${() => more(state)}>Search further back</button> ${state.until !== null && html`Searched back to <${Time} at=${state.until} now=${now} />.`}</p>`}`;
}
