/** A client of Somabrain Sleep: reports circuit breakers, and knows how every tenant sleeps. */

/** From awake to deepest. */
export type StateName = "active" | "light" | "deep" | "freeze";

/** The parameters at a moment. */
export interface Parameters {
  readonly K: number;
  readonly t: number;
  readonly tau: number;
  readonly eta: number;
  readonly lambda: number;
  readonly B: number;
}

/** Why a tenant is in its state: a kind, and the key of the claim concerned, as the specification lists them. */
export interface Cause {
  readonly kind: string;
  readonly key: string | null;
}

/** How a tenant sleeps at this moment. Times are milliseconds since the epoch, of the log. It cannot be changed. */
export interface TenantState {
  readonly state: StateName;
  readonly parameters: Parameters;
  /** When the state began. Null if the tenant is not listed: it is awake, and nobody remembers since when. */
  readonly since: number | null;
  /** Why; null if the tenant is not listed, or is new. */
  readonly cause: Cause | null;
  /** When the next state begins by itself. Null if nothing is to come. */
  readonly endsAt: number | null;
  /**
   * Whether the answer is not from an open stream: it follows the last known forecast, or is what the caller gave for
   * such a time.
   */
  readonly stale: boolean;
}

/**
 * The status of a reader.
 *
 * - `"not_ready"`: no states have come yet, or the reader is closed.
 * - `"ready"`: a stream is open, and all states are known.
 * - `"stale"`: the stream is lost. The reader follows the forecast of each tenant, and tries again.
 * - `"error"`: the server refuses the reader, or it has been stale for too long. The reader tries again.
 */
export type ReaderStatus = "not_ready" | "ready" | "stale" | "error";
export declare const ReaderStatus: {
  readonly NOT_READY: "not_ready";
  readonly READY: "ready";
  readonly STALE: "stale";
  readonly ERROR: "error";
};

/** Something has changed. */
export interface Change {
  /** Of the reader, now. */
  readonly status: ReaderStatus;
  /**
   * Those whose records have changed. Null if any may have: after a change of the status, a snapshot, or new rules.
   * What the forecast named before comes without a change.
   */
  readonly tenants: ReadonlySet<string> | null;
}

/** Where lines go, such as `console`. By default warnings and errors go to stderr. No line has the token. */
export interface Logger {
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

/** A bearer token, or a function that returns one. */
export type Token = string | (() => string | Promise<string>);

export interface ReaderOptions {
  /** The tenants to follow, at most 200; without it all. To ask for another one throws `NotWatched`. */
  tenants?: Iterable<string> | null | undefined;
  /**
   * The answer for every tenant before the first states have come, which is marked as stale. Without it, `state` throws
   * `NotReady` then.
   */
  initial?: { readonly state: StateName; readonly parameters: Parameters } & Partial<TenantState> | null | undefined;
  /** How long the stream may be lost until the status is `"error"`. 60 by default. */
  maxStaleSeconds?: number | undefined;
  /**
   * What counts in `"error"`. With `"hold"`, the default, the forecasts go on. With `"wake"` every tenant is taken for
   * awake, at the last default active set.
   */
  whenStale?: "hold" | "wake" | undefined;
  /** Called after something has changed. It must be quick. What it throws is logged. */
  onChange?: ((change: Change) => unknown) | undefined;
  logger?: Logger | undefined;
  /** In place of the global `fetch`, as for certificates of your own. */
  fetch?: typeof globalThis.fetch | undefined;
}

/**
 * Follows the states of all tenants, or of some.
 *
 *     const reader = new SleepReader("https://sleep.example", token);
 *     await reader.waitReady(10);
 *     if (reader.state("acme").state === "freeze") …
 *
 * While the server is away, the forecast of each tenant is followed. So sleeps end on time with nobody to ask. Its
 * stream keeps the process alive until `close()`.
 */
export declare class SleepReader {
  /**
   * @param url the address of the API, such as `https://sleep.example`
   * @param token the bearer token, with the scope `sleep:read-any`; with `tenants`, one that may read each of them. Or
   *   a function that returns the token. It is called before each connection, and before a token ends.
   * @throws {TypeError} if an argument cannot be used. No secret is in its text.
   */
  constructor(url: string | URL, token: Token, options?: ReaderOptions);

  /**
   * Return how a tenant sleeps now: from memory, without waiting for anything.
   *
   * @throws {NotReady} if no states have come yet and no `initial` was given, and after `close`.
   * @throws {NotWatched} if the tenant is not in `tenants`.
   * @throws {TypeError} if no tenant can have this name.
   */
  state(tenant: string): TenantState;

  /**
   * Return after how many seconds a tenant will be in none of these states, if nothing else happens. Null if that is
   * not known: the tenant is not listed, or no end is in its forecast.
   */
  secondsIn(tenant: string, states: Iterable<StateName>): number | null;

  /** Whether the states are those of an open stream. */
  get status(): ReaderStatus;

  /**
   * Wait until all states are known.
   *
   * @param timeout seconds; 10 by default
   * @throws {NotReady} if they are not within so many seconds; at once if the server refuses the reader. The text says
   *   why, and what to do.
   */
  waitReady(timeout?: number): Promise<void>;

  /** Close the stream. `state` throws `NotReady` then, and later calls change nothing. */
  close(): Promise<void>;
}

/** The base of what a reader throws about a tenant that it cannot answer for. */
export declare class ReaderError extends Error {}

/** The reader knows no states: not yet, or not any more. The text says why. */
export declare class NotReady extends ReaderError {}

/** The tenant is not one of those that the reader was opened for. */
export declare class NotWatched extends ReaderError {}

/** The state of a breaker, in the server's spelling. */
export type State = "closed" | "open" | "half_open" | "forced_open" | "disabled" | "metrics_only";

/**
 * The status of an emitter.
 *
 * - `"starting"`: no answer has come yet.
 * - `"ready"`: the last request was accepted.
 * - `"away"`: the server cannot be reached, or cannot take reports now. The emitter tries again.
 * - `"refused"`: the token, the URL or the server is wrong. The emitter tries again about once a minute.
 * - `"closed"`: `close` has ended.
 */
export type EmitterStatus = "starting" | "ready" | "away" | "refused" | "closed";
export declare const Status: {
  readonly STARTING: "starting";
  readonly READY: "ready";
  readonly AWAY: "away";
  readonly REFUSED: "refused";
  readonly CLOSED: "closed";
};

/**
 * Why a report was not sent.
 *
 * - `"invalid"`: a name or the state is not valid.
 * - `"full"`: too many different breakers and instances are remembered.
 * - `"replaced"`: a later state of the same breaker and instance came before the report could be sent.
 * - `"refused"`: the server finds the report invalid.
 * - `"closed"`: the emitter was closed before, or its close ended before the report was sent.
 * - `"failed"`: an error of this library.
 */
export type DropReason = "invalid" | "full" | "replaced" | "refused" | "closed" | "failed";

export interface EmitterOptions {
  /** The name of this process, which must differ between processes. By default host name and process id. */
  instance?: string | undefined;
  /**
   * How often a state that means sleep is sent again, 1 to 2,592,000. Use at most a third of the lease. The default,
   * 300, fits the default lease of 900 s.
   */
  repeatSeconds?: number | undefined;
  logger?: Logger | undefined;
  /** In place of the global `fetch`, as for certificates of your own. */
  fetch?: typeof globalThis.fetch | undefined;
}

export interface ReportOptions {
  /** In place of the emitter's; "" for a breaker that all processes share. */
  instance?: string | undefined;
  /** Why, for people. It is cut to 256 characters. Put no secrets into it. */
  cause?: unknown;
}

export interface CloseOptions {
  /**
   * Whether to report as closed what this emitter has reported as open, so that no claim stays behind. True by default.
   * Without it, leases end the claims.
   */
  release?: boolean | undefined;
  /** How long that may take. 5 by default. */
  timeoutSeconds?: number | undefined;
}

/**
 * Reports breakers to the API of Somabrain Sleep. Create one for each process, and call `close` before the process
 * ends.
 *
 *     const emitter = new Emitter("https://sleep.example", token);
 *     emitter.report("acme", "payments", "open", { cause: "5 of 10 calls timed out" });
 *
 * While the server is away, the last state of each breaker and instance is kept, for at most 10,000 of them. It is sent
 * when the server takes reports again. `occurred_at` of an event follows the server's clock, not the local one.
 */
export declare class Emitter {
  /**
   * @param url the address of the API, such as `https://sleep.example`
   * @param token the bearer token, with the scope `sleep:emit`, or `sleep:emit-any` for several tenants. Or a function
   *   that returns the token. It is called before each request, so it should remember the token.
   * @throws {TypeError} if an argument cannot be used. No secret is in its text.
   */
  constructor(url: string | URL, token: Token, options?: EmitterOptions);

  /**
   * Report the state of a breaker, at once and without an error.
   *
   * Report each change. To report the same state again is harmless and unnecessary: the emitter repeats it. A report
   * that cannot be sent is counted in `dropped`, and the first one of each reason is logged.
   *
   * @param tenant the tenant whose calls the breaker guards
   * @param breaker the name of the breaker
   * @param state in any case, with or without hyphens, underscores and spaces; such as `"halfOpen"`
   */
  report(tenant: string, breaker: string, state: State | (string & {}), options?: ReportOptions): void;

  /** Whether reports reach the server. */
  get status(): EmitterStatus;

  /** The number of reports that were not sent, by reason. */
  get dropped(): Partial<Record<DropReason, number>>;

  /**
   * Send what waits, and stop. Later reports are dropped, and later calls change nothing.
   *
   * @returns whether everything was sent in time.
   */
  close(options?: CloseOptions): Promise<boolean>;
}
