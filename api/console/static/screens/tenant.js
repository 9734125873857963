// One tenant: why it is as it is, until when, and what can be done.

import { useCallback, useEffect, useRef, useState } from "../vendor/hooks.js";
import { root } from "../io/api.js";
import { Act } from "../parts/act.js";
import { Parameters, Timeline } from "../parts/tenant_curves.js";
import { useStates } from "../parts/follow.js";
import { html, Copy, Empty, Failure, Link, State, Time, useLoad, useSecond } from "../parts/ui.js";
import { addressOf } from "../pure/address.js";
import { asCurl } from "../pure/commands.js";
import { claimText, remaining, rowSentence, whySentence } from "../pure/words.js";

const GATHER_MS = 50;
const AUDIT_AFTER_MS = 700;

export function Tenant({ api, permissions, tenant, filters }) {
  const may = (action) => permissions.may(action, tenant);
  if (!may("read")) {
    return html`<h1>${tenant}</h1><${Empty}>Your token does not allow you to read this tenant. It belongs to ${permissions.tenant ? html`<a href=${addressOf("tenant", { tenant: permissions.tenant })}>${permissions.tenant}</a>` : "no tenant"}.<//>`;
  }
  return html`<${Readable} api=${api} tenant=${tenant} may=${may} at=${filters.at ? Number(filters.at) : null} />`;
}

function Readable({ api, tenant, may, at }) {
  const [round, setRound] = useState(0);
  const asking = useRef(null);
  // A burst of changes asks once more at its end, not once for each change.
  const changed = useCallback(() => {
    asking.current ??= setTimeout(() => {
      asking.current = null;
      setRound((n) => n + 1);
    }, GATHER_MS);
  }, []);
  useEffect(() => () => clearTimeout(asking.current), []);
  const { states, link } = useStates(api, `/api/states/events?tenants=${encodeURIComponent(tenant)}`, changed);
  const now = useLoad((signal) => api.get("/api/brain/sleep_mode", { tenant, signal }), tenant);
  const policy = useLoad((signal) => api.get("/api/brain/sleep_policy", { tenant, signal }), tenant);
  const running = useLoad((signal) => api.get("/api/util/sleep", { tenant, signal }), tenant);
  // The audit is read from a little after the moment that the address names, so that this moment is in it.
  const until = at === null ? "" : `&to=${at + 1}`;
  const audit = useLoad((signal) => (may("audit") ? api.get(`/api/audit?tenant=${encodeURIComponent(tenant)}&limit=30${until}`, { signal }) : Promise.resolve(null)), `${tenant} ${at}`);
  const shown = now.document;
  const version = shown?.policy_version;
  useEffect(() => {
    if (round === 0) return undefined;
    now.again();
    running.again();
    // The audit is read from Kafka, which takes longer: what the tenant is now comes first.
    const timer = setTimeout(audit.again, AUDIT_AFTER_MS);
    return () => clearTimeout(timer);
  }, [round]);
  useEffect(() => {
    if (policy.document && version !== undefined && policy.document.policy_version !== version) policy.again();
  }, [version]);
  useSecond();
  // The forecast is due by itself: what it says is asked for once its time has come.
  const due = shown?.forecast.find((entry) => entry.at > shown.now)?.at;
  useEffect(() => {
    if (due === undefined) return undefined;
    const timer = setTimeout(changed, Math.min(Math.max(due - api.now() + 50, 50), 2 ** 31 - 1));
    return () => clearTimeout(timer);
  }, [due]);
  if (!shown) {
    return html`<h1>${tenant}</h1>${now.problem ? html`<${Failure} problem=${now.problem} retry=${now.again} />` : html`<p class="loading" role="status">Asking for the tenant …</p>`}`;
  }
  const record = states.records.get(tenant) ?? null;
  const clock = api.now();
  return html`
    <div class="title"><h1>${tenant}</h1><${State} state=${shown.state} /><${Link} link=${link} /></div>
    ${(now.problem || link.problem) && html`<${Failure} problem=${now.problem ?? link.problem} retry=${now.again} />`}
    ${at !== null && html`<p class="note">You came for <${Time} at=${at} now=${clock} />. The audit below ends there; all else is now. <a href=${addressOf("tenant", { tenant })}>Show all</a></p>`}
    <p class=${link.live ? "why" : "why stale"} data-why>${whySentence(shown)}</p>
    <${Act} api=${api} tenant=${tenant} may=${may} done=${changed} />
    <div class="columns">
      <section aria-labelledby="claims"><h2 id="claims">Claims</h2><${Claims} claims=${shown.claims} now=${clock} /><${Notes} tenant=${shown} /></section>
      <section aria-labelledby="timeline"><h2 id="timeline">Past, now and forecast</h2><${Timeline} shown=${shown} rows=${audit.document?.rows ?? []} now=${clock} /></section>
      <section aria-labelledby="parameters"><h2 id="parameters">Parameters</h2><${Parameters} shown=${shown} record=${record} now=${clock} /></section>
      <section aria-labelledby="policy"><h2 id="policy">Policy in force</h2><${Policy} loaded=${policy} tenant=${tenant} /></section>
      <section aria-labelledby="operations"><h2 id="operations">Sleeps that run</h2><${Operations} loaded=${running} api=${api} tenant=${tenant} may=${may} done=${changed} now=${clock} /></section>
      <section aria-labelledby="past"><h2 id="past">Audit</h2><${Past} loaded=${audit} tenant=${tenant} may=${may} now=${clock} /></section>
    </div>
    <details><summary>The same in a terminal</summary>
      <${Copy} label="curl" text=${asCurl({ method: "GET", path: "/api/brain/sleep_mode", headers: { "X-Tenant-Id": tenant } }, root())} />
      <${Copy} label="sleepctl" text=${`sleepctl state ${tenant}`} />
    </details>`;
}

function Claims({ claims, now }) {
  if (claims.length === 0) return html`<${Empty}>No claim: nobody asks for sleep.<//>`;
  return html`<ul class="cards">${claims.map((claim) => html`<li key=${`${claim.source} ${claim.key}`}>
    <${State} state=${claim.state} /> <strong class="break">${claimText(claim)}</strong>
    <div>since <${Time} at=${claim.since} now=${now} />, <span data-lease title=${claim.expires_at === null ? "" : new Date(claim.expires_at).toISOString()}>${remaining(claim.expires_at, now)}</span></div>
    ${(claim.actor || claim.reason) && html`<div class="break">${claim.actor ? `by ${claim.actor}` : ""}${claim.actor && claim.reason ? ": " : ""}${claim.reason ?? ""}</div>`}
  </li>`)}</ul>`;
}

function Notes({ tenant }) {
  const quorums = tenant.decided_by.unmet_quorums;
  return html`${quorums.map((one) => html`<p class="hint break">Quorum not met: ${one.have} of ${one.need} instances of ${one.breaker} ask for ${one.state}.</p>`)}
    ${tenant.decided_by.unmatched_breakers.map((name) => html`<p class="hint break">No rule of the policy matches breaker ${name}: the built-in rule applies.</p>`)}
    ${tenant.notes.map((note) => html`<p class="hint break">${note}</p>`)}`;
}

function Policy({ loaded, tenant }) {
  if (loaded.problem) return html`<${Failure} problem=${loaded.problem} retry=${loaded.again} />`;
  if (!loaded.document) return html`<p class="loading">…</p>`;
  const { policy, policy_version: version, default: byRules } = loaded.document;
  const origin = byRules ? "It is that of the platform's rules: the tenant has none of its own." : `It is the tenant's own, version ${version}.`;
  return html`<p>${origin} <a href=${addressOf("whatif", { tenant })}>What if it were different?</a></p>
    <dl class="facts">
      <dt>floor – ceiling</dt><dd>${policy.floor} – ${policy.ceiling}</dd>
      <dt>enforced</dt><dd>${policy.enforce ? "yes" : "no: a dry run"}</dd>
      <dt>minimum sleep</dt><dd>${policy.min_sleep_seconds} s</dd>
      <dt>longest TTL</dt><dd>${policy.max_ttl_seconds} s</dd>
      <dt>ramp</dt><dd>${policy.ramp_seconds.deepen} s deeper, ${policy.ramp_seconds.wake} s to wake</dd>
      ${policy.breakers.map((rule) => html`<dt class="break">breaker ${rule.match}</dt><dd>open: ${rule.open}, half-open: ${rule.half_open}, quorum ${rule.quorum}, lease ${rule.lease_seconds === 0 ? "none" : `${rule.lease_seconds} s`}</dd>`)}
    </dl>`;
}

function Operations({ loaded, api, tenant, may, done, now }) {
  if (loaded.problem) return html`<${Failure} problem=${loaded.problem} retry=${loaded.again} />`;
  if (!loaded.document) return html`<p class="loading">…</p>`;
  const { operations } = loaded.document;
  if (operations.length === 0) return html`<${Empty}>None. Ended ones are in the audit.<//>`;
  return html`<ul class="cards">${operations.map((one) => html`<li key=${one.operation_id}>
    <${State} state=${one.target_state} /> <code class="break">${one.operation_id}</code>
    <div>${one.status}, ${remaining(one.expires_at, now)}${one.actor ? `, by ${one.actor}` : ""}</div>
    ${one.reason && html`<div class="break">${one.reason}</div>`}
    ${may("sleep") && html`<${Act} api=${api} tenant=${tenant} may=${may} done=${done} cancel=${one.operation_id} />`}
  </li>`)}</ul>`;
}

function Past({ loaded, tenant, may, now }) {
  if (!may("audit")) return html`<${Empty}>Your token does not show the audit of this tenant.<//>`;
  if (loaded.problem) return html`<${Failure} problem=${loaded.problem} retry=${loaded.again} />`;
  if (!loaded.document) return html`<p class="loading">…</p>`;
  const { rows } = loaded.document;
  return html`${rows.length === 0 ? html`<${Empty}>No rows in what was searched.<//>` : html`<ol class="rows">${rows.map((row) => html`<li key=${row.id}><${Time} at=${row.at} now=${now} /> <span class="break">${rowSentence(row)}${row.reason ? `: ${row.reason}` : ""}</span></li>`)}</ol>`}
    <p><a href=${addressOf("audit", { filters: { tenant } })}>Search the audit of this tenant</a></p>`;
}
