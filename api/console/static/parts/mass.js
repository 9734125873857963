// One command to all tenants that the filters of the fleet keep: how many, a typed confirmation, progress, stop, go on.

import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { keptRun } from "../io/kept_run.js";
import { operationIdOf } from "../io/operation_id.js";
import { action } from "../pure/commands.js";
import { keyOf, MassRun, RUN_NAME } from "../pure/mass_run.js";
import { adviceOf, RunPlace } from "../pure/run_place.js";
import { KINDS } from "./act.js";
import { html, Empty, Time, useThrottled } from "./ui.js";

const OFFERED = ["pin", "sleep", "mode"];
const USUAL_RATE = 100;
const MOST_RATE = 950;
const DRAW_MS = 200;

// The page has one run at a time. It goes on while another screen is shown, and can be continued after a new sign-in.
const place = new RunPlace(keptRun, Date.now);
let api = null;

// Also while nobody is signed in.
const warn = (event) => event.preventDefault();
place.listen(() => (place.left ? addEventListener : removeEventListener)("beforeunload", warn));

function useRun(wait) {
  const draw = useThrottled(() => wait);
  useEffect(() => place.listen(draw), [draw]);
  return place.run;
}

/** Asks as the reader who is signed in; an answer that is no success is an answer too. */
async function answerOf(method, path, options) {
  try {
    const { status, document } = await api.request(method, path, options);
    return { status, document, retryAfter: null };
  } catch (error) {
    return { status: error.status ?? 0, document: { code: error.code, detail: error.message }, retryAfter: error.retryAfter ?? null };
  }
}

function begin({ name, subject, kind, tenants, filters, perSecond, given }) {
  const key = keyOf(name);
  const headers = { "Sleep-Run": name, "Idempotency-Key": key };
  const send = (tenant) => {
    const { request } = action(kind, tenant, { ...given, reason: given.reason || `run ${name}` });
    return answerOf(request.method, request.path, { body: request.body, headers: { ...request.headers, ...headers } });
  };
  const lookUp = async (tenant) => {
    if (!crypto.subtle) return { status: 400, document: { detail: "the browser can do that only over https, or on this machine" } };
    return answerOf("GET", `/api/operations/${await operationIdOf(tenant, subject, key)}`, { tenant, headers: { "Sleep-Run": name } });
  };
  const title = `${KINDS[kind].title} ${given.state}${given.ttl === null ? "" : ` for ${given.ttl} s`}`;
  const run = new MassRun(
    { name, subject, title, tenants, perSecond },
    { send, lookUp, now: Date.now, random: Math.random, pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)), changed: () => place.changed() },
  );
  place.begin(run, { kind, state: given.state, ttl: given.ttl, filters });
  run.go();
}

/** On every screen while a run is there, so that nobody forgets it. Without a session, it stops. */
export function RunNotice({ api: present, fleet }) {
  const run = useRun(1000);
  api = present;
  useEffect(() => () => place.run?.stop(), []);
  if (!place.left) return null;
  return html`<a href=${fleet}>Run ${run.name}: ${run.count - run.left} of ${run.count}${run.running ? "" : ", stopped"}</a>`;
}

/** The run that the end of a session has stopped, and how to continue it; `leaves` as in `adviceOf`. */
export function RunLeft({ leaves }) {
  const run = useRun(1000);
  if (!place.left) return null;
  return html`<section class="note" aria-labelledby="left-title"><h2 id="left-title">Run <span class="break">${run.name}</span> is not finished</h2>
    <p>${run.title}: ${run.count - run.left} of ${run.count} tenants answered.</p>
    <p>${adviceOf(run, leaves)}</p>
  </section>`;
}

/** The button for the tenants that are shown, or the run that is there. `wait` says why not now, or is empty. */
export function Mass({ permissions, filters, rows, wait }) {
  const run = useRun(DRAW_MS);
  const [planned, setPlanned] = useState(null);
  // A run needs the operator's scope, as Health does.
  const offered = permissions.may("inspect", null) ? OFFERED.filter((kind) => permissions.may(KINDS[kind].needs, "")) : [];
  if (run !== null) return html`<${Progress} run=${run} subject=${permissions.subject} />`;
  if (offered.length === 0 || rows.length === 0) return null;
  const plan = (kept) => setPlanned({ tenants: rows.map((row) => row.tenant), filters, kept });
  const these = rows.length === 1 ? "this tenant" : `these ${rows.length} tenants`;
  const offer = place.offer({ subject: permissions.subject, filters });
  return html`<p><button type="button" disabled=${wait !== ""} aria-describedby=${wait ? "mass-wait" : undefined} onClick=${() => plan(null)}>Act on ${these}</button>
    ${wait && html` <span class="hint" id="mass-wait">${wait}</span>`}</p>
    ${offer && offered.includes(offer.kind) && html`<div class="note"><p>Run <strong class="break">${offer.name}</strong> was not finished: ${offer.title}. Until <${Time} at=${offer.until} now=${Date.now()} /> the same name continues it.</p>
      <button type="button" disabled=${wait !== ""} onClick=${() => plan(offer)}>Continue it with ${these}</button></div>`}
    ${planned && html`<${Plan} ...${planned} offered=${offered} subject=${permissions.subject} close=${() => setPlanned(null)} />`}`;
}

function newName() {
  const at = new Date().toISOString().replace(/[-:]|\..*/g, "");
  return `console-${at}-${Math.random().toString(36).slice(2, 6).padEnd(4, "0")}`;
}

/** `kept` is the offer to continue a run, or null. */
function Plan({ tenants, filters, kept, offered, subject, close }) {
  const box = useRef(null);
  const [kind, setKind] = useState(kept?.kind ?? offered[0]);
  const [state, setState] = useState(kept?.state ?? KINDS[kind].first);
  const [ttl, setTtl] = useState(kept === null ? "600" : String(kept.ttl ?? ""));
  const [reason, setReason] = useState("");
  const [name, setName] = useState(() => kept?.name ?? newName());
  const [rate, setRate] = useState(String(USUAL_RATE));
  const [typed, setTyped] = useState("");
  useEffect(() => box.current.showModal(), []);
  const about = KINDS[kind];
  const choose = (chosen) => {
    setKind(chosen);
    setState(KINDS[chosen].first);
  };
  const text = (set) => (event) => set(event.currentTarget.value);
  const submit = (event) => {
    event.preventDefault();
    box.current.close();
    begin({ name, subject, kind, tenants, filters, perSecond: Number(rate), given: { state, ttl: ttl === "" ? null : Number(ttl), reason } });
  };
  return html`<dialog ref=${box} aria-labelledby="mass-title" onClose=${close}>
    <form onSubmit=${submit}>
      <h2 id="mass-title">Act on ${tenants.length} tenants</h2>
      <p class="hint">Those that the filters keep now, and no others: each gets one command of its own.</p>
      ${kept && html`<p class="hint">Leave command, state, seconds and name as they are. A tenant with an answer then gets the same answer again. Another command to it would be refused.</p>`}
      <label>Command<select value=${kind} onChange=${(event) => choose(event.currentTarget.value)}>${offered.map((one) => html`<option value=${one}>${KINDS[one].title}</option>`)}</select></label>
      <p class="hint">${about.help}</p>
      <label>State<select value=${state} onChange=${text(setState)}>${about.states.map((one) => html`<option value=${one}>${one}</option>`)}</select></label>
      <label>For how many seconds${about.ttl === "optional" ? " (empty: without an end)" : ""}<input type="number" step="0.001" required=${about.ttl === "required"} value=${ttl} onInput=${text(setTtl)} /></label>
      <label>Reason, for the audit (empty: the run's name)<input maxlength="1024" value=${reason} onInput=${text(setReason)} /></label>
      <label>Name of the run<input required pattern=${RUN_NAME.source.slice(1, -1)} title="1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or a digit" value=${name} onInput=${text(setName)} /></label>
      <label>Commands a second, at most<input type="number" min="1" max=${MOST_RATE} required value=${rate} onInput=${text(setRate)} /></label>
      <label>Type ${tenants.length} to go on<input inputmode="numeric" autocomplete="off" required value=${typed} onInput=${text(setTyped)} /></label>
      <div class="actions">
        <button type="submit" class="main" disabled=${typed.trim() !== String(tenants.length)}>Send to ${tenants.length} tenants</button>
        <button type="button" onClick=${() => box.current.close()}>Leave it</button>
      </div>
    </form>
  </dialog>`;
}

function Progress({ run, subject }) {
  const answered = run.count - run.left;
  const another = run.subject !== subject;
  return html`<section class="note" aria-labelledby="run-title"><h2 id="run-title">Run <span class="break">${run.name}</span>: ${run.title}</h2>
    <label>Answered<progress max=${run.count} value=${answered}></progress></label>
    <p role="status" data-run=${run.running ? "running" : run.left === 0 ? "finished" : "stopped"}>${answered} of ${run.count} tenants answered: ${run.done} done, ${run.refused} refused. ${run.running ? `At most ${run.perSecond} commands a second.` : run.left === 0 ? "Finished." : "Stopped."}</p>
    ${run.problem && html`<p class="wrong">${run.problem}</p>`}
    ${run.refusals.length > 0 && html`<ul>${run.refusals.map((one) => html`<li class="break" key=${one.tenant}><strong>${one.tenant}</strong> ${one.code}: ${one.detail}</li>`)}</ul>`}
    <div class="actions">
      ${run.running && html`<button type="button" onClick=${() => (run.stop(), place.changed())}>Stop</button>`}
      ${!run.running && run.left > 0 && html`<button type="button" class="main" disabled=${another} onClick=${() => (run.go(), place.changed())}>Go on with ${run.left} tenants</button>`}
      ${!run.running && html`<button type="button" onClick=${() => place.close()}>Close</button>`}
    </div>
    ${another && html`<${Empty}>${run.subject} began this run. The ids of its commands are theirs, so only they can go on.<//>`}
    ${run.left > 0 && html`<p class="hint">No answered command is sent again. If this page is closed, the list of tenants is lost: act again under the same name, and the log repeats for an hour what it has answered.</p>`}
  </section>`;
}
