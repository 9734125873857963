// Sign-in: at the issuer, or with a token that the reader pastes. A token is kept in memory only.

import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { RunLeft } from "../parts/mass.js";
import { html } from "../parts/ui.js";
import { entrance } from "../pure/entrance.js";

const OFFERS = {
  busy: () => html`<p class="loading" role="status">Signing in …</p>`,
  again: ({ again }) => html`<button type="button" onClick=${again}>Try again</button>`,
  paste: ({ paste }) => html`<${Paste} paste=${paste} />`,
  issuer: ({ ways, toIssuer }) => html`<${AtIssuer} issuer=${ways.issuer} toIssuer=${toIssuer} />`,
};

export function SignIn(session) {
  const { ended } = session;
  useEffect(() => {
    document.title = "Sign in · Somabrain Sleep";
  }, []);
  return html`<main class="narrow">
    <h1>Somabrain Sleep</h1>
    ${ended && html`<div class="failure" role="alert"><strong>You are signed out</strong><p>${ended}</p></div>`}
    <${RunLeft} leaves=${Boolean(session.ways?.issuer)} />
    ${OFFERS[entrance(session)](session)}
  </main>`;
}

function AtIssuer({ issuer, toIssuer }) {
  const button = useRef(null);
  useEffect(() => button.current?.focus(), []);
  return html`<p>You sign in at <span class="break">${issuer}</span>, and come back to the same address.</p>
    <button type="button" class="main" ref=${button} onClick=${toIssuer}>Sign in</button>`;
}

function Paste({ paste }) {
  const [token, setToken] = useState("");
  const field = useRef(null);
  useEffect(() => field.current?.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    const clean = token.trim().replace(/^Bearer\s+/i, "");
    // What no header can hold would fail as if the API were away.
    if (/^[\x21-\x7e]+$/.test(clean)) paste(clean);
    else field.current?.setCustomValidity("A token has letters, digits and punctuation, and no space inside.");
    field.current?.reportValidity();
  };
  const input = (event) => {
    event.currentTarget.setCustomValidity("");
    setToken(event.currentTarget.value);
  };
  return html`<form onSubmit=${submit} autocomplete="off">
    <label>Token<input ref=${field} type="password" name="token" required autocomplete="off" spellcheck="false" value=${token} onInput=${input} /></label>
    <p class="hint">A bearer token of your issuer, or the one that <code>make run</code> prints. It stays in the memory of this page: a reload asks for it again, and the address is kept.</p>
    <button type="submit">Sign in</button>
  </form>`;
}
