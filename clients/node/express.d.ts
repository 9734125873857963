/** Middleware for Express and for what calls handlers alike. */

import type { Logger, SleepReader, StateName } from "./index.d.ts";

/** What is asked of a reader. */
export interface States {
  state: SleepReader["state"];
  secondsIn(tenant: string, states: Iterable<any>): number | null;
}

export interface SleepMiddlewareOptions {
  /** The states in which requests are denied; none by default. */
  deny?: Iterable<StateName> | undefined;
  /** What happens while the reader does not know the tenant's state. Denied requests get 503 with `Retry-After`. */
  notReady: "allow" | "deny";
  /** What happens to a request without a tenant, or with a name that no tenant can have. Denied requests get 400. */
  noTenant: "allow" | "deny";
  logger?: Logger | undefined;
}

/** What a handler needs of a response: that of Node's `http`. */
export interface Response {
  writeHead(status: number, headers: Record<string, string>): unknown;
  end(body: string): unknown;
}

export type Handler<Request> = (request: Request, response: Response, next: (error?: unknown) => void) => void;

/**
 * Put the state of the tenant on each request, as `request.sleepState`: a `TenantState`, or null where a request is
 * allowed without a state.
 *
 *     app.use(sleepMiddleware(reader, (request) => request.user.tenant, {
 *       deny: ["freeze"], notReady: "allow", noTenant: "deny",
 *     }));
 *
 * A tenant in one of the states of `deny` gets 503 with a problem document, and with `Retry-After` if its forecast has
 * an end of these states.
 *
 * @param reader a `SleepReader`
 * @param tenant returns the tenant of a request, null or undefined without one. Take it from the verified identity, not
 *   from a header that a caller can set. What it throws goes to `next`.
 * @throws {TypeError} if an argument is none of these.
 */
export declare function sleepMiddleware<Request = any>(
  reader: States,
  tenant: (request: Request) => string | null | undefined,
  options: SleepMiddlewareOptions,
): Handler<Request>;
