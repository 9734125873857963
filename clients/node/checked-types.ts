/** Only checked, never run: the declared types are those of the code, and a wrong call is found. */

import { Emitter, NotReady, SleepReader, type Change, type TenantState } from "@somabrain/sleep-client";
import { sleepMiddleware } from "@somabrain/sleep-client/express";
import { SleepProvider } from "@somabrain/sleep-client/openfeature";
import { reportOpossum } from "@somabrain/sleep-client/opossum";
import { Emitter as EmitterCode } from "./src/emitter.js";
import { sleepMiddleware as middlewareCode } from "./src/express.js";
import { SleepProvider as ProviderCode } from "./src/openfeature.js";
import { reportOpossum as opossumCode } from "./src/opossum.js";
import { SleepReader as ReaderCode } from "./src/reader.js";
import { NotReady as NotReadyCode } from "./src/reading/errors.js";

export const reader: typeof SleepReader = ReaderCode;
export const emitter: typeof Emitter = EmitterCode;
export const notReady: typeof NotReady = NotReadyCode;
export const middleware: typeof sleepMiddleware = middlewareCode;
export const provider: typeof SleepProvider = ProviderCode;
export const opossum: typeof reportOpossum = opossumCode;

const onChange = ({ status, tenants }: Change): boolean => status === "ready" && tenants?.has("acme") === true;
const read = new SleepReader("https://sleep.example", async () => "token", { tenants: ["acme"], onChange });
export const state: TenantState = read.state("acme");
// @ts-expect-error - a state cannot be changed
state.state = "active";
// @ts-expect-error - no state
export const asleep: boolean = state.state === "asleep";
// @ts-expect-error - an option that does not exist
new SleepReader("https://sleep.example", "token", { maxStale: 60 });
// @ts-expect-error - the provider itself listens for changes
new SleepProvider("https://sleep.example", "token", { onChange });
// @ts-expect-error - names are strings
new Emitter("https://sleep.example", "token").report(1, "payments", "open");
// @ts-expect-error - whoever denies says what happens otherwise
sleepMiddleware(read, () => "acme", { deny: ["freeze"] });
