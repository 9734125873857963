/**
 * The binding for opossum: reports the changes of a breaker.
 * @typedef {import("../opossum.js").OpossumBreaker} OpossumBreaker
 */

import { shown } from "./protocol/names.js";
import { nameOf } from "./runtime/tokens.js";

/** What opossum calls a breaker without a name and of a function without one: another one in each process. */
const RANDOM = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const CODE = /^[A-Z][A-Z0-9_]{1,39}$/;
/** @type {ReadonlyMap<string, string>} */
const EVENTS = new Map([
  ["open", "open"],
  ["halfOpen", "half_open"],
  ["close", "closed"],
  ["shutdown", "disabled"],
]);

/**
 * Report each change of a breaker's state; see `opossum.d.ts`.
 * @param {{report: import("../index.js").Emitter["report"]}} emitter
 * @param {OpossumBreaker} breaker
 * @param {import("../opossum.js").OpossumOptions} options
 * @returns {() => void}
 */
export function reportOpossum(emitter, breaker, { tenant, instance }) {
  if (typeof tenant !== "string" && typeof tenant !== "function") {
    throw new TypeError("tenant: use a name, or a function that returns one");
  }
  if (RANDOM.test(breaker.name)) {
    throw new TypeError(`breaker ${shown(breaker.name)}: it has a random name; use the option \`name\` of opossum`);
  }
  let reported = "closed";
  let failure = "";

  const report = (/** @type {string} */ state) => {
    // A disabled breaker lets all calls through, and keeps its state.
    const current = breaker.enabled ? state : "disabled";
    if (current === reported) return;
    reported = current;
    const cause = current === "open" && failure !== "" ? `last failure: ${failure}` : undefined;
    emitter.report(tenantOf(tenant, breaker), breaker.name, current, { instance, cause });
  };
  // The type of an error, or its code. Its text may have secrets.
  const onFailure = (/** @type {unknown} */ error) => {
    failure = kindOf(error);
  };
  // `disable` and `enable` emit nothing. The next call shows them.
  const onFire = () => report(stateOf(breaker));

  const handlers = new Map([
    ["failure", onFailure],
    ["fire", onFire],
    ...[...EVENTS].map(([event, state]) => /** @type {const} */ ([event, () => report(state)])),
  ]);
  for (const [event, handler] of handlers) breaker.on(event, handler);
  report(stateOf(breaker));
  return () => {
    for (const [event, handler] of handlers) breaker.off(event, handler);
  };
}

/** @param {OpossumBreaker} breaker */
function stateOf({ opened, halfOpen, closed }) {
  if (opened) return "open";
  if (halfOpen) return "half_open";
  return closed ? "closed" : "disabled";
}

/**
 * @param {import("../opossum.js").OpossumOptions["tenant"]} tenant
 * @param {OpossumBreaker} breaker
 */
function tenantOf(tenant, breaker) {
  if (typeof tenant === "string") return tenant;
  try {
    return tenant(breaker);
  } catch (error) {
    // No valid tenant, so the emitter counts the report as invalid and logs this text.
    return `(the function of the tenant threw ${nameOf(error)})`;
  }
}

/** @param {unknown} error */
function kindOf(error) {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && CODE.test(code) ? code : nameOf(error);
}
