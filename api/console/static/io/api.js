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

export class Api {
  /** `onUnauthorised` is called when the API says that the token is no good any more. */
  constructor(token, onUnauthorised) {
    this.token = token;
    this.onUnauthorised = onUnauthorised;
    this.offset = 0;
  }

  /** The log's time, as the server last said it, counted on by the browser's clock. */
  now() {
    return Date.now() + this.offset;
  }

  heard(serverNow) {
    if (typeof serverNow === "number") this.offset = serverNow - Date.now();
  }

  async request(method, path, { tenant, body, headers = {}, signal } = {}) {
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
      if (response.status === 401) this.onUnauthorised(document.detail ?? "");
      throw new Problem(response.status, document, Number(response.headers.get("retry-after")) || null);
    }
    this.heard(document.now);
    return { document, status: response.status, etag: response.headers.get("etag") };
  }

  async get(path, options) {
    return (await this.request("GET", path, options)).document;
  }
}
