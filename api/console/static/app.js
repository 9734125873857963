// The console: sign-in, the frame around each screen, and the way between them.

import { render } from "./vendor/preact.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { html, Empty, Failure, useLoad } from "./parts/ui.js";
import { RunNotice } from "./parts/mass.js";
import { useSession } from "./parts/use_session.js";
import { addressOf, parseAddress } from "./pure/address.js";
import { Permissions } from "./pure/permissions.js";
import { SignIn } from "./screens/sign_in.js";
import { Fleet } from "./screens/fleet.js";
import { Tenant } from "./screens/tenant.js";
import { WhatIf } from "./screens/what_if.js";
import { Audit } from "./screens/audit.js";
import { Live } from "./screens/live.js";
import { Health } from "./screens/health.js";

const VIEWS = { fleet: Fleet, tenant: Tenant, whatif: WhatIf, audit: Audit, live: Live, health: Health };
const TITLES = { fleet: "Fleet", tenant: "Tenant", whatif: "What if", audit: "Audit", live: "Live", health: "Health" };

function useAddress() {
  const [address, setAddress] = useState(() => parseAddress(location.hash));
  useEffect(() => {
    const changed = () => setAddress(parseAddress(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return address;
}

function App() {
  const session = useSession();
  if (session.api === null) return html`<${SignIn} ...${session} />`;
  return html`<${Inside} api=${session.api} signOut=${session.signOut} />`;
}

function Inside({ api, signOut }) {
  const loaded = useLoad((signal) => api.get("/api/permissions", { signal }), "");
  const ends = loaded.document?.expires_at;
  useEffect(() => api.onRenewed(loaded.again), [api]);
  useEffect(() => (ends === undefined ? undefined : api.endAt(ends)), [api, ends]);
  if (loaded.problem && !loaded.document) {
    return html`<main class="narrow"><h1>Somabrain Sleep</h1><${Failure} problem=${loaded.problem} retry=${loaded.again} /><p><button type="button" onClick=${signOut}>Sign out</button></p></main>`;
  }
  if (!loaded.document) return html`<p class="loading" role="status">Asking what the token allows …</p>`;
  return html`<${Frame} api=${api} permissions=${new Permissions(loaded.document)} signOut=${signOut} />`;
}

function Frame({ api, permissions, signOut }) {
  const address = useAddress();
  const main = useRef(null);
  const screens = permissions.screens();
  // A token without the fleet begins at its own tenant.
  const first = screens.includes("fleet") ? addressOf("fleet") : permissions.tenant ? addressOf("tenant", { tenant: permissions.tenant }) : null;
  const place = `${address.screen}/${address.tenant}`;
  useEffect(() => {
    if (address.screen === "" && first !== null) location.replace(first);
    document.title = `${TITLES[address.screen] ?? "Console"}${address.tenant ? ` ${address.tenant}` : ""} · Somabrain Sleep`;
  }, [place, first]);
  useEffect(() => {
    main.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [place]);
  const skip = (event) => (event.preventDefault(), main.current?.focus());
  const link = (screen, named) => {
    const here = address.screen === screen && (named === undefined || address.tenant === named);
    return html`<li><a href=${addressOf(screen, named === undefined ? {} : { tenant: named })} aria-current=${here ? "page" : undefined}>${named === undefined ? TITLES[screen] : "My tenant"}</a></li>`;
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header class="bar">
      <a class="brand" href="#/">Somabrain Sleep</a>
      <nav aria-label="Screens"><ul>
        ${screens.map((screen) => link(screen))}
        ${permissions.tenant && permissions.may("read", permissions.tenant) && link("tenant", permissions.tenant)}
      </ul></nav>
      <${GoTo} />
      <${RunNotice} api=${api} fleet=${addressOf("fleet")} />
      <div class="who"><span title="the subject of the token">${permissions.subject}</span> <button type="button" onClick=${signOut}>Sign out</button></div>
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      ${view(address, { api, permissions, first })}
    </main>`;
}

function view(address, { api, permissions, first }) {
  if (address.errors.length > 0) {
    return html`<h1>This address is wrong</h1>
      <ul>${address.errors.map((text) => html`<li>${text}</li>`)}</ul>
      <p><a href=${first ?? "#/"}>Go to the first screen</a></p>`;
  }
  if (address.screen === "") {
    return html`<h1>Welcome</h1><${Empty}>Your token shows no list of tenants. Open one by its name, at the top of the page.<//>`;
  }
  const View = VIEWS[address.screen];
  return html`<${View} key=${`${address.screen}/${address.tenant}`} api=${api} permissions=${permissions} tenant=${address.tenant} filters=${address.filters} />`;
}

function GoTo() {
  const [name, setName] = useState("");
  const go = (event) => {
    event.preventDefault();
    if (name) location.hash = addressOf("tenant", { tenant: name });
  };
  return html`<form class="goto" role="search" onSubmit=${go}>
    <label><span class="unseen">Open a tenant</span><input type="search" placeholder="Open a tenant" maxlength="128" value=${name} onInput=${(event) => setName(event.currentTarget.value.trim())} /></label>
  </form>`;
}

const place = document.getElementById("app");
// What the page says while it loads; Preact would leave it beside its own.
place.replaceChildren();
render(html`<${App} />`, place);
