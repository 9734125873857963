/** Middleware for Express and for what calls handlers alike: the state of the tenant on each request. */

import { Guard } from "./obeying.js";
import { checkNames } from "./runtime/address.js";

const OPTIONS = ["deny", "notReady", "noTenant", "logger"];

/**
 * Return the middleware; see `express.d.ts`.
 * @template Request
 * @param {import("../express.js").States} reader
 * @param {(request: Request) => string | null | undefined} tenant
 * @param {import("../express.js").SleepMiddlewareOptions} options
 * @returns {import("../express.js").Handler<Request>}
 */
export function sleepMiddleware(reader, tenant, options) {
  checkNames(options, OPTIONS);
  if (typeof tenant !== "function") throw new TypeError("tenant: use a function of the request");
  const guard = new Guard(reader, options);
  return (request, response, next) => {
    let checked;
    try {
      checked = guard.check(tenant(request));
    } catch (error) {
      next(error);
      return;
    }
    if (checked.denial === null) {
      Object.assign(/** @type {object} */ (request), { sleepState: checked.state });
      next();
      return;
    }
    const { status, headers, body } = checked.denial;
    response.writeHead(status, headers);
    response.end(body);
  };
}
