// All tenants that sleep: counts that move, filters in the address, and a list of any length.

import { useEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
import { Curve } from "../parts/curve.js";
import { Mass } from "../parts/mass.js";
import { useStates } from "../parts/follow.js";
import { html, Empty, Failure, Link, State, Time, duration, useLoad, useSecond } from "../parts/ui.js";
import { addressOf, CAUSE_KINDS } from "../pure/address.js";
import { FleetRows, whyIncomplete } from "../pure/fleet_rows.js";
import { causeText } from "../pure/words.js";
import { windowOf } from "../pure/window.js";

const ROW = 44;

export function Fleet({ api, permissions, filters }) {
  if (!permissions.may("watch", null)) {
    return html`<h1>Fleet</h1><${Empty}>Your token does not show the tenants of others: that needs the scope <code>sleep:read-any</code> or <code>sleep:operate</code>.<//>`;
  }
  return html`<${Allowed} api=${api} permissions=${permissions} filters=${filters} />`;
}

function Allowed({ api, permissions, filters }) {
  const { states, link, draw } = useStates(api, "/api/states/events");
  useSecond();
  const now = api.now();
  const fleet = useMemo(() => new FleetRows(), [states]);
  const more = fleet.take(states.records, states.changed, now);
  if (more) draw();
  const { rows, counts, open } = fleet;
  const shown = fleet.fitting(filters, now);
  const mayList = permissions.may("list", null);
  const known = link.live || rows.length > 0;
  return html`
    <div class="title"><h1>Fleet</h1><${Link} link=${link} /></div>
    ${link.problem && html`<${Failure} problem=${link.problem} />`}
    ${known && html`<${Strip} counts=${counts} open=${open} live=${link.live} filters=${filters} />`}
    ${mayList && html`<${History} api=${api} />`}
    <${Filters} filters=${filters} />
    <${Mass} permissions=${permissions} filters=${filters} rows=${shown} wait=${whyIncomplete(link, states.ready, more)} />
    ${known
      ? html`<${List} rows=${shown} now=${now} total=${rows.length} filtered=${Object.keys(filters).length > 0} />`
      : !link.problem && html`<p class="loading" role="status">Waiting for the first states …</p>`}`;
}

function Strip({ counts, open, live, filters }) {
  const total = counts.light + counts.deep + counts.freeze;
  const part = (state) => html`<li class=${live ? "" : "stale"}><a href=${addressOf("fleet", { filters: { ...filters, state: filters.state === state ? "" : state } })} aria-current=${filters.state === state ? "true" : undefined}>
    <strong data-count=${state}>${counts[state]}</strong> <${State} state=${state} /></a></li>`;
  return html`<ul class="strip" aria-label="Tenants asleep, by state">
    <li class=${live ? "" : "stale"}><span><strong data-count="asleep">${total}</strong> asleep</span></li>
    ${["light", "deep", "freeze"].map(part)}
    <li class=${live ? "" : "stale"}><span><strong data-count="open">${open}</strong> open-ended or pinned</span></li>
  </ul>`;
}

function History({ api }) {
  const [round, setRound] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setRound((n) => n + 1), 30000);
    return () => clearInterval(timer);
  }, []);
  const loaded = useLoad((signal) => api.get("/api/history", { signal }), "history");
  useEffect(() => {
    if (round > 0) loaded.again();
  }, [round]);
  if (loaded.problem) return html`<${Failure} problem=${loaded.problem} retry=${loaded.again} />`;
  if (!loaded.document) return null;
  const points = loaded.document.samples.map(({ at, counts }) => {
    const asleep = counts.light + counts.deep + counts.freeze;
    return [at, (100 * asleep) / Math.max(1, asleep + counts.active)];
  });
  const last = points.at(-1);
  const label = last ? `Share of tenants asleep in the last hour, now ${last[1].toFixed(1)} %` : "Share asleep";
  return html`<section aria-labelledby="share"><h2 id="share">Share asleep, last hour</h2>
    <${Curve} points=${points} label=${label} low=${0} steps=${true} />
    ${last && html`<p class="hint">Now ${last[1].toFixed(1)} %, at most ${Math.max(...points.map(([, y]) => y)).toFixed(1)} %, since <${Time} at=${points[0][0]} now=${last[0]} /> as this API process has counted.</p>`}
  </section>`;
}

function Filters({ filters }) {
  const set = (name) => (event) => {
    const next = addressOf("fleet", { filters: { ...filters, [name]: event.currentTarget.value } });
    // Typing a filter is one step of the history, not one for each letter.
    history.replaceState(null, "", next);
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  return html`<form class="filters" aria-label="Filters" onSubmit=${(event) => event.preventDefault()}>
    <label>State<select value=${filters.state ?? ""} onChange=${set("state")}><option value="">any</option>${["light", "deep", "freeze"].map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
    <label>Cause<select value=${filters.cause ?? ""} onChange=${set("cause")}><option value="">any</option>${CAUSE_KINDS.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>
    <label>Asleep for, min<input type="number" min="0" max="10000000" value=${filters.older ?? ""} onInput=${set("older")} /></label>
    <label>Text<input type="search" maxlength="256" value=${filters.text ?? ""} onInput=${set("text")} /></label>
    ${Object.keys(filters).length > 0 && html`<a class="button" href=${addressOf("fleet")}>Clear</a>`}
  </form>`;
}

function List({ rows, now, total, filtered }) {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const measure = () => box.current && setView({ top: box.current.scrollTop, height: box.current.clientHeight });
  useEffect(measure, []);
  const shape = useMemo(() => windowOf({ count: rows.length, rowHeight: ROW, ...view }), [rows.length, view.top, view.height]);
  if (total === 0) return html`<${Empty}>Nobody sleeps. A tenant appears here as soon as a breaker trips or somebody puts it to sleep.<//>`;
  if (rows.length === 0) return html`<${Empty}>None of the ${total} tenants asleep fits the filters. ${filtered && html`<a href=${addressOf("fleet")}>Clear them</a>`}<//>`;
  return html`<p class="hint" role="status">${rows.length} of ${total} tenants asleep</p>
    <div class="list" ref=${box} onScroll=${measure} tabindex="0" role="table" aria-label="Tenants asleep" aria-rowcount=${rows.length + 1}>
      <div class="row head" role="row" aria-rowindex="1"><span role="columnheader">Tenant</span><span role="columnheader">State</span><span role="columnheader">For</span><span role="columnheader">Cause</span><span role="columnheader">Next</span></div>
      <div role="presentation" ref=${(node) => node && (node.style.height = `${shape.above}px`)}></div>
      ${rows.slice(shape.first, shape.first + shape.drawn).map((row, index) => html`<div class="row" role="row" key=${row.tenant} aria-rowindex=${shape.first + index + 2}>
        <span role="cell"><a href=${addressOf("tenant", { tenant: row.tenant })}>${row.tenant}</a>${row.open && html` <span class="tag">open-ended</span>`}</span>
        <span role="cell"><${State} state=${row.state} />${row.decided !== row.state && row.state === "active" && html` <span class="tag">dry run: ${row.decided}</span>`}</span>
        <span role="cell"><time title=${new Date(row.since).toISOString()}>${duration(now - row.since)}</time></span>
        <span role="cell" class="cut" title=${causeText(row.cause)}>${causeText(row.cause)}</span>
        <span role="cell">${row.next ? html`${row.next.state} in ${duration(row.next.at - now)}` : "no end known"}</span>
      </div>`)}
      <div role="presentation" ref=${(node) => node && (node.style.height = `${shape.below}px`)}></div>
    </div>`;
}
