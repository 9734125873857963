// Sign-in with a token that the reader pastes. It is kept in memory only.

import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { html } from "../parts/ui.js";

export function SignIn({ ended, signIn }) {
  const [token, setToken] = useState("");
  const field = useRef(null);
  useEffect(() => {
    document.title = "Sign in · Somabrain Sleep";
    field.current?.focus();
  }, []);
  const submit = (event) => {
    event.preventDefault();
    const clean = token.trim().replace(/^Bearer\s+/i, "");
    // What no header can hold would fail as if the API were away.
    if (/^[\x21-\x7e]+$/.test(clean)) signIn(clean);
    else field.current?.setCustomValidity("A token has letters, digits and punctuation, and no space inside.");
    field.current?.reportValidity();
  };
  const input = (event) => {
    event.currentTarget.setCustomValidity("");
    setToken(event.currentTarget.value);
  };
  return html`<main class="narrow">
    <h1>Somabrain Sleep</h1>
    ${ended && html`<div class="failure" role="alert"><strong>You are signed out</strong><p>${ended}</p></div>`}
    <form onSubmit=${submit} autocomplete="off">
      <label>Token<input ref=${field} type="password" name="token" required autocomplete="off" spellcheck="false" value=${token} onInput=${input} /></label>
      <p class="hint">A bearer token of your issuer, or the one that <code>make run</code> prints. It stays in the memory of this page: a reload asks for it again, and the address is kept.</p>
      <button type="submit">Sign in</button>
    </form>
  </main>`;
}
