/** The provider for OpenFeature. It needs `@openfeature/server-sdk`. */

import type {
  EvaluationContext,
  JsonValue,
  OpenFeatureEventEmitter,
  Provider,
  ResolutionDetails,
} from "@openfeature/server-sdk";
import type { ReaderOptions, Token } from "./index.d.ts";

export interface SleepProviderOptions extends Omit<ReaderOptions, "onChange"> {
  /**
   * How long the initialisation waits for the first states. Afterwards it fails with `PROVIDER_NOT_READY`, and the
   * provider gets ready later. 10 by default.
   */
  waitSeconds?: number | undefined;
}

/**
 * Answers `sleep.state`, `sleep.K`, `sleep.t`, `sleep.tau`, `sleep.eta`, `sleep.lambda` and `sleep.B`.
 *
 *     await OpenFeature.setProviderAndWait(new SleepProvider("https://sleep.example", token));
 *     const client = OpenFeature.getClient();
 *     const state = await client.getStringValue("sleep.state", "active", { targetingKey: "acme" });
 *
 * The targeting key is the tenant. `sleep.state` is a string, the others are numbers. The provider has a `SleepReader`
 * from its initialisation until it is closed: values come from memory, also while the server is away.
 *
 * Events follow the reader's status. `ConfigurationChanged` says that the flags of some tenants have changed.
 */
export declare class SleepProvider implements Provider {
  readonly metadata: { readonly name: string };
  readonly runsOn: "server";
  readonly events: OpenFeatureEventEmitter;

  /** The arguments are those of `SleepReader`, and `waitSeconds`. What cannot be used fails the initialisation. */
  constructor(url: string | URL, token: Token, options?: SleepProviderOptions);

  /** Open the reader and wait for the first states; called by OpenFeature. */
  initialize(): Promise<void>;

  /** Close the reader; called by OpenFeature. */
  onClose(): Promise<void>;

  resolveBooleanEvaluation(
    key: string,
    defaultValue: boolean,
    context: EvaluationContext,
  ): Promise<ResolutionDetails<boolean>>;
  resolveStringEvaluation(
    key: string,
    defaultValue: string,
    context: EvaluationContext,
  ): Promise<ResolutionDetails<string>>;
  resolveNumberEvaluation(
    key: string,
    defaultValue: number,
    context: EvaluationContext,
  ): Promise<ResolutionDetails<number>>;
  resolveObjectEvaluation<Value extends JsonValue>(
    key: string,
    defaultValue: Value,
    context: EvaluationContext,
  ): Promise<ResolutionDetails<Value>>;
}
