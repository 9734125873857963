// The one run of the page, and what is left of it for the next page: its name and command, and no list of tenants.

import { addressOf } from "./address.js";
import { LOOK_UP_AFTER_MS, RUN_NAME } from "./mass_run.js";

const filtersOf = (filters) => addressOf("fleet", { filters: Object.fromEntries(Object.entries(filters).sort()) });

export class RunPlace {
  #listeners = new Set();
  #store;
  #now;

  /** `store` keeps one text beyond the page: `read()`, `write(text)`, `forget()`. `now()` is milliseconds. */
  constructor(store, now) {
    this.#store = store;
    this.#now = now;
    this.run = null;
  }

  /** Would a list of tenants be lost with the page? */
  get left() {
    return this.run !== null && this.run.left > 0;
  }

  /** Call `listener` after each change. Returns a function that ends it. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Take a run. `about` is `{kind, state, ttl, filters}`. */
  begin(run, { kind, state, ttl, filters }) {
    const { name, subject, title } = run;
    const kept = this.#kept();
    // The log counts its hour from the first command of this name.
    const at = kept?.name === name && kept.subject === subject ? kept.at : this.#now();
    this.#store.write(JSON.stringify({ name, subject, title, kind, state, ttl, filters: filtersOf(filters), at }));
    this.run = run;
    this.changed();
  }

  changed() {
    if (this.run?.left === 0) this.#store.forget();
    this.#tell();
  }

  close() {
    this.run = null;
    this.#store.forget();
    this.#tell();
  }

  /** The run that an earlier page did not finish: `{name, title, kind, state, ttl, until}`. Null if there is none. */
  offer({ subject, filters }) {
    const kept = this.#kept();
    if (kept === null || kept.subject !== subject || kept.filters !== filtersOf(filters)) return null;
    const { name, title, kind, state, ttl, at } = kept;
    return { name, title, kind, state, ttl, until: at + LOOK_UP_AFTER_MS };
  }

  #kept() {
    try {
      const kept = JSON.parse(this.#store.read());
      const age = this.#now() - kept.at;
      return RUN_NAME.test(kept.name) && age >= 0 && age < LOOK_UP_AFTER_MS ? kept : null;
    } catch {
      return null;
    }
  }

  #tell() {
    for (const listener of this.#listeners) listener();
  }
}

/** How to continue a run after a sign-in; `leaves` says whether the page is left for it. */
export function adviceOf(run, leaves) {
  if (leaves) return `Signing in leaves this page, and the list of tenants is lost. Sign in as ${run.subject} and choose the same filters: the same name within an hour continues it. The fleet offers that.`;
  return `Sign in as ${run.subject} to go on with ${run.left} tenants. If this page is closed, the list of tenants is lost: the same name within an hour continues it.`;
}
