/** The binding for opossum. */

import type { Emitter } from "./index.d.ts";

/** What is used of a breaker of opossum. */
export interface OpossumBreaker {
  readonly name: string;
  readonly enabled: boolean;
  readonly opened: boolean;
  readonly halfOpen: boolean;
  readonly closed: boolean;
  on(event: string, handler: (...values: any[]) => void): unknown;
  off(event: string, handler: (...values: any[]) => void): unknown;
}

export interface OpossumOptions {
  /** The tenant, or a function of the breaker that returns it. */
  tenant: string | ((breaker: OpossumBreaker) => string);
  /** In place of the emitter's. */
  instance?: string | undefined;
}

/**
 * Report each change of a breaker's state.
 *
 *     const breaker = new CircuitBreaker(charge, { name: "payments" });
 *     reportOpossum(emitter, breaker, { tenant: "acme" });
 *
 * The name of the breaker is its `name`. The cause is the type of the last failure, or its code. Its text is not sent,
 * since it may have secrets. A breaker that was shut down is reported as `disabled`. opossum tells nobody that a
 * breaker was disabled or enabled: its next call shows it.
 *
 * @returns a function that ends it.
 * @throws {TypeError} if the breaker has a random name, since it was made of a function without a name, or if the
 *   tenant is neither a name nor a function.
 */
export declare function reportOpossum(
  emitter: Pick<Emitter, "report">,
  breaker: OpossumBreaker,
  options: OpossumOptions,
): () => void;
