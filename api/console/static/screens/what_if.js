// What a policy would decide for a tenant now; and its saving, where nobody else was faster.

import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { root } from "../io/api.js";
import { html, Copy, Empty, Failure, State, useLoad } from "../parts/ui.js";
import { addressOf, STATES } from "../pure/address.js";
import { asCurl } from "../pure/commands.js";
import { differences, draftOf, errorsAt, policyOf } from "../pure/policy.js";
import { whySentence } from "../pure/words.js";

const POLICY = "/api/brain/sleep_policy";
const WAIT_MS = 300;

export function WhatIf({ api, permissions, tenant }) {
  if (!permissions.may("read", tenant)) {
    return html`<h1>What if: ${tenant}</h1><${Empty}>Your token does not allow you to read this tenant.<//>`;
  }
  return html`<${Loaded} api=${api} tenant=${tenant} maySave=${permissions.may("cognitive_sleep_policy", tenant)} />`;
}

function Loaded({ api, tenant, maySave }) {
  const loaded = useLoad((signal) => api.request("GET", POLICY, { tenant, signal }), tenant);
  const title = html`<h1>What if: <a class="break" href=${addressOf("tenant", { tenant })}>${tenant}</a></h1>`;
  if (loaded.problem) return html`${title}<${Failure} problem=${loaded.problem} retry=${loaded.again} />`;
  if (!loaded.document) return html`${title}<p class="loading" role="status">Asking for the policy …</p>`;
  return html`${title}<${Editor} api=${api} tenant=${tenant} maySave=${maySave} first=${loaded.document} />`;
}

function Editor({ api, tenant, maySave, first }) {
  // The version that the reader has seen: a save compares it.
  const [seen, setSeen] = useState({ etag: first.etag, policy: first.document.policy, byRules: first.document.default });
  const [draft, setDraft] = useState(() => draftOf(first.document.policy));
  const [preview, setPreview] = useState(null);
  const [problem, setProblem] = useState(null);
  const [conflict, setConflict] = useState(null);
  const [saved, setSaved] = useState("");
  const [saving, setSaving] = useState(false);
  let policy = null;
  let unreadable = null;
  try {
    policy = policyOf(draft);
  } catch (error) {
    unreadable = error.message;
  }
  const text = JSON.stringify(policy);
  useEffect(() => {
    if (policy === null) return undefined;
    const ended = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const answer = await api.request("POST", `${POLICY}/preview`, { tenant, body: policy, signal: ended.signal });
        setPreview(answer.document);
        setProblem(null);
      } catch (error) {
        if (!ended.signal.aborted) setProblem(error);
      }
    }, WAIT_MS);
    return () => (clearTimeout(timer), ended.abort());
  }, [text]);
  const change = (path, value) => {
    setSaved("");
    setDraft((old) => {
      const next = structuredClone(old);
      const names = path.split(".");
      let place = next;
      for (const name of names.slice(0, -1)) place = place[name];
      place[names.at(-1)] = value;
      return next;
    });
  };
  const save = async (event) => {
    event.preventDefault();
    if (policy === null) return;
    setSaving(true);
    setSaved("");
    try {
      const answer = await api.request("PUT", POLICY, { tenant, body: policy, headers: { "If-Match": seen.etag } });
      if (answer.etag) setSeen({ etag: answer.etag, policy: answer.document.policy, byRules: answer.document.default });
      setSaved(answer.etag ? `Saved as version ${answer.document.policy_version}.` : "Accepted: the log has it, and its outcome is not known yet.");
      setProblem(null);
      setConflict(null);
    } catch (error) {
      if (error.code === "version_conflict") await showConflict();
      else setProblem(error);
    } finally {
      setSaving(false);
    }
  };
  const showConflict = async () => {
    try {
      setConflict(await api.request("GET", POLICY, { tenant }));
    } catch (error) {
      setProblem(error);
    }
  };
  const settle = (take) => {
    const { etag, document } = conflict;
    setSeen({ etag, policy: document.policy, byRules: document.default });
    if (take) setDraft(draftOf(document.policy));
    setConflict(null);
  };
  const changes = policy === null ? [] : differences(seen.policy, JSON.parse(text));
  const request = { method: "PUT", path: POLICY, body: policy ?? undefined, headers: { "X-Tenant-Id": tenant, "If-Match": seen.etag } };
  return html`
    <p>${seen.byRules ? "The tenant has no policy of its own: you begin with that of the rules." : `You begin with version ${seen.etag.replaceAll('"', "")} of the tenant's own policy.`} Nothing changes before you save.</p>
    <div class="columns">
      <form onSubmit=${save} aria-label="Policy"><${Fields} draft=${draft} change=${change} errors=${problem?.errors ?? []} unreadable=${unreadable} />
        ${problem && html`<${Failure} problem=${problem} />`}
        ${conflict && html`<${Conflict} conflict=${conflict} mine=${policy} settle=${settle} />`}
        ${saved && html`<p class="note" role="status">${saved}</p>`}
        ${maySave
          ? html`<div class="actions"><button type="submit" class="main" disabled=${saving || policy === null || conflict !== null}>${saving ? "Saving …" : "Save"}</button></div>`
          : html`<p class="hint">Your token may try a policy and not save it.</p>`}
      </form>
      <section aria-labelledby="effect"><h2 id="effect">Effect now</h2><${Effect} preview=${preview} />
        <h3>Your changes</h3>${changes.length === 0 ? html`<${Empty}>None yet.<//>` : html`<${Table} rows=${changes} heads=${["field", "in force", "yours"]} />`}
        ${policy && html`<details><summary>The same in a terminal</summary><${Copy} label="curl" text=${asCurl(request, root())} /><${Copy} label="sleepctl" text=${`sleepctl send policy policy.json --tenant ${tenant}`} /></details>`}
      </section>
    </div>`;
}

function Conflict({ conflict, mine, settle }) {
  const box = useRef(null);
  useEffect(() => box.current.focus(), []);
  const rows = differences(conflict.document.policy, mine);
  return html`<div class="failure" role="alert" tabindex="-1" ref=${box}><strong>Somebody was faster</strong>
    <p>The policy is version ${conflict.document.policy_version} now. It differs from yours in ${rows.length === 0 ? "nothing" : "this"}:</p>
    <${Table} rows=${rows} heads=${["field", "theirs", "yours"]} />
    <div class="actions"><button type="button" onClick=${() => settle(true)}>Take theirs</button><button type="button" onClick=${() => settle(false)}>Keep mine, to save over theirs</button></div></div>`;
}

function Table({ rows, heads }) {
  if (rows.length === 0) return null;
  const show = (value) => (value === undefined ? "absent" : JSON.stringify(value));
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Differences"><table><thead><tr>${heads.map((text) => html`<th scope="col">${text}</th>`)}</tr></thead>
    <tbody>${rows.map(([path, a, b]) => html`<tr key=${path}><th scope="row" class="break">${path}</th><td class="break">${show(a)}</td><td class="break">${show(b)}</td></tr>`)}</tbody></table></div>`;
}

function Effect({ preview }) {
  if (!preview) return html`<p class="loading">Asking …</p>`;
  return html`${[["before", preview.before], ["after", preview.after]].map(([name, one]) => html`<div class="effect" data-effect=${name}><h3>${name}</h3><${State} state=${one.state} /><p>${whySentence(one)}</p></div>`)}`;
}

const HELP = {
  floor: "Never less asleep than this.",
  ceiling: "Never deeper than this.",
  min_sleep_seconds: "A tenant that sleeps stays so for at least this long, in seconds.",
  max_ttl_seconds: "The longest sleep or pin that a command may ask for, in seconds.",
  "ramp_seconds.deepen": "How long parameters take to reach a deeper state, in seconds.",
  "ramp_seconds.wake": "How long they take to wake, in seconds.",
};

function Fields({ draft, change, errors, unreadable }) {
  const value = (path) => path.split(".").reduce((place, name) => place?.[name], draft) ?? "";
  const field = (path, label, make) => {
    const wrong = errorsAt(errors, path);
    const id = `field-${path}`;
    return html`<div class="field"><label for=${id}>${label}</label>${make({ id, "aria-invalid": wrong.length ? "true" : undefined, "aria-describedby": `${id}-help` })}
      <div id=${`${id}-help`}>${HELP[path] && html`<p class="hint">${HELP[path]}</p>`}${wrong.map((reason) => html`<p class="wrong" data-wrong=${path}>${reason}</p>`)}</div></div>`;
  };
  const choice = (path, label) => field(path, label, (more) => html`<select ...${more} value=${value(path)} onChange=${(event) => change(path, event.currentTarget.value)}>${STATES.map((name) => html`<option value=${name}>${name}</option>`)}</select>`);
  const number = (path, label) => field(path, label, (more) => html`<input inputmode="decimal" ...${more} value=${String(value(path))} onInput=${(event) => change(path, event.currentTarget.value)} />`);
  const addRule = () => change("breakers", [...draft.breakers, { match: "*", open: "freeze", half_open: "light", quorum: 1, lease_seconds: 900 }]);
  const removeRule = (index) => change("breakers", draft.breakers.filter((_, at) => at !== index));
  return html`
    ${choice("floor", "Floor")}${choice("ceiling", "Ceiling")}
    <label class="check"><input type="checkbox" checked=${draft.enforce} onChange=${(event) => change("enforce", event.currentTarget.checked)} /> Enforce; otherwise it is a dry run</label>
    ${number("min_sleep_seconds", "Minimum sleep")}${number("max_ttl_seconds", "Longest TTL")}
    ${number("ramp_seconds.deepen", "Ramp, deeper")}${number("ramp_seconds.wake", "Ramp, waking")}
    ${draft.breakers.map((_, index) => html`<fieldset key=${index}><legend>Breaker rule ${index + 1}</legend>
      ${field(`breakers.${index}.match`, "Names that match", (more) => html`<input ...${more} value=${value(`breakers.${index}.match`)} onInput=${(event) => change(`breakers.${index}.match`, event.currentTarget.value)} />`)}
      ${choice(`breakers.${index}.open`, "Open means")}${choice(`breakers.${index}.half_open`, "Half-open means")}
      ${number(`breakers.${index}.quorum`, "Quorum")}${number(`breakers.${index}.lease_seconds`, "Lease, seconds (0: none)")}
      <button type="button" onClick=${() => removeRule(index)}>Remove rule ${index + 1}</button></fieldset>`)}
    <div class="actions"><button type="button" onClick=${addRule}>Add a breaker rule</button></div>
    ${field("schedule", "Schedule of parameters (JSON; empty: that of the rules)", (more) => html`<textarea rows="4" spellcheck="false" ...${more} onInput=${(event) => change("schedule_text", event.currentTarget.value)} value=${draft.schedule_text}></textarea>`)}
    ${unreadable && html`<p class="wrong" role="alert">The schedule is no JSON: ${unreadable}</p>`}`;
}
