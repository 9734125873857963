// Requests to the API with the reader's token, which stays in memory and in a header.

/** An answer that is no success, with the server's own words. `status` is 0 if there was no answer. */
export class Problem extends Error {
  constructor(status, document, retryAfter) {
    super(document.detail || document.title || `HTTP ${status}`);
    this.status = status;
    this.code = document.code ?? null;
    this.title = document.title ?? "The request failed";
    this.errors = Array.isArray(document.errors) ? document.errors : [];
    this.retryAfter = retryAfter;
  }
}

const SECONDS = 30;

/** The address of the API: the console's own, one folder up, so that a proxy may serve both under a prefix. */
export function root() {
  return new URL("..", document.baseURI).href.replace(/\/$/, "");
}

/** Longer waits are more than a timer of the browser can hold. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export class Api {
  #source;
  #renewing = null;
  #listeners = new Set();

  /**
   * `onUnauthorised(why)` is called when the token is no good any more. `source()`, where there is one, returns a new
   * token, or null where that may work later; it throws where it never will.
   */
  constructor(token, onUnauthorised, source = null) {
    this.token = token;
    this.onUnauthorised = onUnauthorised;
    this.#source = source;
    this.offset = 0;
  }

  /** Call `listener` after each renewal. Returns a function that ends it. */
  onRenewed(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Get a new token, once for all who ask at the same time; false if there is none. */
  renew() {
    if (this.#source === null) return Promise.resolve(false);
    this.#renewing ??= this.#renew().finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #renew() {
    try {
      const token = await this.#source();
      if (token === null) return false;
      this.token = token;
    } catch (error) {
      this.#source = null;
      this.onUnauthorised(error.message);
      return false;
    }
    for (const listener of [...this.#listeners]) listener();
    return true;
  }

  /** Sign out at `at`, by the API's clock, unless there is another token by then. Returns a function that ends it. */
  endAt(at) {
    const token = this.token;
    const timer = setTimeout(
      () => {
        if (this.token === token && this.now() >= at) this.onUnauthorised("The token has ended.");
      },
      Math.min(LONGEST_TIMER_MS, Math.max(0, at - this.now()) + 50),
    );
    return () => clearTimeout(timer);
  }

  /** The log's time, as the server last said it, counted on by the browser's clock. */
  now() {
    return Date.now() + this.offset;
  }

  heard(serverNow) {
    if (typeof serverNow === "number") this.offset = serverNow - Date.now();
  }

  async request(method, path, options = {}) {
    const token = this.token;
    try {
      return await this.#send(method, path, options);
    } catch (error) {
      if (error.status !== 401) throw error;
      // Nothing was done for a token that is not accepted, so the request may be sent again with another one.
      if (this.token !== token || (await this.renew())) return this.#send(method, path, options);
      this.onUnauthorised(error.message);
      throw error;
    }
  }

  async #send(method, path, { tenant, body, headers = {}, signal } = {}) {
    const more = { Authorization: `Bearer ${this.token}`, ...headers };
    if (tenant) more["X-Tenant-Id"] = tenant;
    if (body !== undefined) more["Content-Type"] = "application/json";
    const limit = AbortSignal.timeout(SECONDS * 1000);
    let response;
    try {
      response = await fetch(root() + path, {
        method,
        headers: more,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
        credentials: "omit",
        cache: "no-store",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, { title: "The API does not answer", detail: "The request did not reach the API, or its answer was lost. Try again when the connection is back." }, null);
    }
    return this.#read(response);
  }

  async #read(response) {
    const text = await response.text();
    let document = {};
    try {
      document = text ? JSON.parse(text) : {};
    } catch {
      document = { detail: `HTTP ${response.status}: the answer is no JSON; a proxy may have sent it` };
    }
    if (!response.ok) {
      throw new Problem(response.status, document, Number(response.headers.get("retry-after")) || null);
    }
    this.heard(document.now);
    return { document, status: response.status, etag: response.headers.get("etag") };
  }

  async get(path, options) {
    return (await this.request("GET", path, options)).document;
  }
}
