// The buttons that change a tenant: each is an ordinary request, which is shown before it is sent.

import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { root } from "../io/api.js";
import { action, asCurl } from "../pure/commands.js";
import { html, Copy, Failure } from "./ui.js";

export const KINDS = {
  sleep: { title: "Sleep", needs: "sleep", states: ["light", "deep", "freeze"], first: "light", ttl: "required", help: "At least this deep, for a while. A breaker may make it deeper." },
  mode: { title: "Mode", needs: "cognitive_sleep", states: ["active", "light", "deep", "freeze"], first: "light", ttl: "optional", help: "At least this deep until the mode changes. Active removes the mode; breakers still count." },
  pin: { title: "Pin awake", needs: "cognitive_sleep_override", states: ["active", "light", "deep", "freeze"], first: "active", ttl: "required", help: "The pin alone decides until it ends, whatever breakers say." },
  cancel: { title: "Cancel", needs: "sleep", help: "Ends this sleep before its time." },
};

/** The buttons that the token allows for a tenant; with `cancel`, only the one for that operation. */
export function Act({ api, tenant, may, done, cancel = null }) {
  const [open, setOpen] = useState(null);
  const kinds = cancel === null ? ["sleep", "mode", "pin"] : ["cancel"];
  const offered = kinds.filter((kind) => may(KINDS[kind].needs));
  if (offered.length === 0) return cancel === null ? html`<p class="hint">Your token may read this tenant and not change it.</p>` : null;
  return html`<div class="actions">
    ${offered.map((kind) => html`<button type="button" key=${kind} onClick=${() => setOpen(kind)}>${KINDS[kind].title}</button>`)}
    ${open && html`<${Form} key=${open} kind=${open} api=${api} tenant=${tenant} id=${cancel} done=${done} close=${() => setOpen(null)} />`}
  </div>`;
}

function Form({ kind, api, tenant, id, done, close }) {
  const about = KINDS[kind];
  const box = useRef(null);
  const [state, setState] = useState(about.first);
  const [ttl, setTtl] = useState(about.ttl === "required" ? "600" : "");
  const [reason, setReason] = useState("");
  const [sending, setSending] = useState(false);
  const [result, setResult] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    box.current.showModal();
  }, []);
  const { request, sleepctl } = action(kind, tenant, { state, ttl: ttl === "" ? null : Number(ttl), reason, id });
  const send = async (event) => {
    event.preventDefault();
    setSending(true);
    setProblem(null);
    try {
      const options = { body: request.body, headers: request.headers };
      const answer = await api.request(request.method, request.path, options);
      setResult(answer);
      done();
    } catch (error) {
      setProblem(error);
    } finally {
      setSending(false);
    }
  };
  const wrong = (field) => problem?.errors?.find((one) => one.field === field)?.reason;
  return html`<dialog ref=${box} aria-labelledby=${`title-${kind}`} onClose=${close}>
    <form onSubmit=${send}>
      <h2 id=${`title-${kind}`}>${about.title}: <span class="break">${kind === "cancel" ? id : tenant}</span></h2>
      <p class="hint">${about.help}</p>
      ${about.states && html`<label>State<select value=${state} onChange=${(event) => setState(event.currentTarget.value)}>${about.states.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>`}
      ${about.ttl && html`<label>For how many seconds${about.ttl === "optional" ? " (empty: without an end)" : ""}
        <input type="number" step="0.001" required=${about.ttl === "required"} value=${ttl} aria-invalid=${wrong("ttl_seconds") ? "true" : undefined} onInput=${(event) => setTtl(event.currentTarget.value)} /></label>
        ${wrong("ttl_seconds") && html`<p class="wrong">${wrong("ttl_seconds")}</p>`}`}
      ${about.states && html`<label>Reason, for the audit<input maxlength="1024" value=${reason} aria-invalid=${wrong("reason") ? "true" : undefined} onInput=${(event) => setReason(event.currentTarget.value)} /></label>
        ${wrong("reason") && html`<p class="wrong">${wrong("reason")}</p>`}`}
      ${problem && html`<${Failure} problem=${problem} />`}
      ${result && html`<p class="note" role="status">${result.status === 202 ? "Accepted: the log has it, and its outcome is not known yet." : `Done: ${result.document.status ?? "applied"}${result.document.state ? `, the tenant is ${result.document.state}` : ""}.`}</p>`}
      <div class="actions">
        ${!result && html`<button type="submit" class="main" disabled=${sending}>${sending ? "Sending …" : about.title}</button>`}
        <button type="button" onClick=${() => box.current.close()}>${result ? "Close" : "Leave it"}</button>
      </div>
      <${Copy} label="curl" text=${asCurl(request, root())} />
      <${Copy} label="sleepctl" text=${sleepctl} />
    </form>
  </dialog>`;
}
