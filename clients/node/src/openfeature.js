/**
 * The provider for OpenFeature.
 * @typedef {import("@openfeature/server-sdk").EvaluationContext} EvaluationContext
 * @typedef {import("../index.js").Change} Change
 * @typedef {import("../index.js").ReaderStatus} Status
 */

import {
  ErrorCode,
  FlagNotFoundError,
  InvalidContextError,
  OpenFeatureEventEmitter,
  ProviderEvents,
  ProviderNotReadyError,
  TargetingKeyMissingError,
  TypeMismatchError,
} from "@openfeature/server-sdk";

import { KEYS, flagOf } from "./flags.js";
import { shown } from "./protocol/names.js";
import { SleepReader } from "./reader.js";
import { NotReady, NotWatched } from "./reading/errors.js";
import { ReaderStatus } from "./reading/session.js";

const WAIT_SECONDS = 10;

/** Answers flags from the states of tenants; see `openfeature.d.ts`. */
export class SleepProvider {
  metadata = Object.freeze({ name: "Somabrain Sleep" });
  /** @type {"server"} */
  runsOn = "server";
  events = new OpenFeatureEventEmitter();
  #open;
  #waitSeconds;
  /** @type {SleepReader | null} */
  #reader = null;
  /** @type {Status | null} what was emitted last; the SDK itself tells of the end of the initialisation */
  #told = null;
  #initialising = false;

  /**
   * @param {string | URL} url
   * @param {string | (() => string | Promise<string>)} token
   * @param {import("../openfeature.js").SleepProviderOptions} [options]
   */
  constructor(url, token, { waitSeconds = WAIT_SECONDS, tenants: named, ...options } = {}) {
    if ("onChange" in options) throw new TypeError("onChange: the provider has events instead");
    // Each initialisation reads them.
    const tenants = typeof named === "object" && named !== null ? [...named] : named;
    const onChange = (/** @type {Change} */ change) => this.#changed(change);
    this.#open = () => new SleepReader(url, token, { ...options, tenants, onChange });
    this.#waitSeconds = waitSeconds;
  }

  async initialize() {
    this.#initialising = true;
    const reader = (this.#reader = this.#open());
    try {
      await reader.waitReady(this.#waitSeconds);
      this.#told = ReaderStatus.READY;
    } catch (error) {
      this.#told = reader.status;
      if (!(error instanceof NotReady)) throw error;
      if (this.#told !== ReaderStatus.READY) throw new ProviderNotReadyError(error.message);
    } finally {
      // After the SDK has told of the end: what has changed meanwhile is later than that.
      setImmediate(() => {
        this.#initialising = false;
        if (this.#reader === reader) this.#changed({ status: reader.status, tenants: new Set() });
      });
    }
  }

  async onClose() {
    const reader = this.#reader;
    this.#reader = null;
    await reader?.close();
  }

  /**
   * @param {string} key
   * @param {boolean} _default
   * @param {EvaluationContext} context
   * @returns {Promise<import("@openfeature/server-sdk").ResolutionDetails<boolean>>}
   */
  async resolveBooleanEvaluation(key, _default, context) {
    throw this.#mismatch(key, "boolean", context);
  }

  /**
   * @param {string} key
   * @param {string} _default
   * @param {EvaluationContext} context
   */
  async resolveStringEvaluation(key, _default, context) {
    const { value, ...flag } = this.#flag(key, context);
    if (typeof value !== "string") throw this.#mismatch(key, "string", context);
    return { ...flag, value };
  }

  /**
   * @param {string} key
   * @param {number} _default
   * @param {EvaluationContext} context
   */
  async resolveNumberEvaluation(key, _default, context) {
    const { value, ...flag } = this.#flag(key, context);
    if (typeof value !== "number") throw this.#mismatch(key, "number", context);
    return { ...flag, value };
  }

  /**
   * @template {import("@openfeature/server-sdk").JsonValue} Value
   * @param {string} key
   * @param {Value} _default
   * @param {EvaluationContext} context
   * @returns {Promise<import("@openfeature/server-sdk").ResolutionDetails<Value>>}
   */
  async resolveObjectEvaluation(key, _default, context) {
    throw this.#mismatch(key, "object", context);
  }

  /**
   * @param {string} key
   * @param {string} kind
   * @param {EvaluationContext} context
   */
  #mismatch(key, kind, context) {
    return new TypeMismatchError(`flag ${key} is a ${typeof this.#flag(key, context).value}, not a ${kind}`);
  }

  /**
   * @param {string} key
   * @param {EvaluationContext} context
   */
  #flag(key, { targetingKey }) {
    if (!KEYS.includes(key)) {
      throw new FlagNotFoundError(`there is no flag ${shown(key, 60)}; use one of ${KEYS.join(", ")}`);
    }
    if (targetingKey === undefined || targetingKey === "") {
      throw new TargetingKeyMissingError("the targeting key is the tenant: set it in the evaluation context");
    }
    if (this.#reader === null) {
      throw new ProviderNotReadyError("the provider is not initialised, or was closed");
    }
    let state;
    try {
      state = this.#reader.state(targetingKey);
    } catch (error) {
      if (error instanceof NotReady) throw new ProviderNotReadyError(error.message);
      if (error instanceof NotWatched || error instanceof TypeError) throw new InvalidContextError(error.message);
      throw error;
    }
    const flag = flagOf(key, state);
    if (flag === null) {
      throw new FlagNotFoundError(`flag ${key}: the state that was given as \`initial\` has no such parameter`);
    }
    return flag;
  }

  /** @param {Change} change */
  #changed({ status, tenants }) {
    if (this.#initialising) return;
    const before = this.#told;
    this.#told = status;
    if (status !== before) this.#tell(status);
    if (tenants === null || tenants.size > 0) {
      this.events.emit(ProviderEvents.ConfigurationChanged, { flagsChanged: [...KEYS] });
    }
  }

  /** @param {Status} status */
  #tell(status) {
    if (status === ReaderStatus.READY) {
      this.events.emit(ProviderEvents.Ready, { message: "the stream of states is open" });
    } else if (status === ReaderStatus.STALE) {
      this.events.emit(ProviderEvents.Stale, { message: "the stream of states is lost; forecasts go on" });
    } else if (status === ReaderStatus.ERROR) {
      const message = "the server refuses the reader, or the stream has been lost for too long; see the log";
      this.events.emit(ProviderEvents.Error, { message, errorCode: ErrorCode.GENERAL });
    }
  }
}
