// A program with the Node client, which a test drives: commands come as lines of JSON, and so go answers. A function of
// the token asks the test. `argv`: the client's module, and by how many milliseconds the local clock is wrong.
import { createInterface } from "node:readline";

let wrongBy = Number(process.argv[3] ?? 0);
const now = Date.now;
Date.now = () => now() + wrongBy;

const { Emitter, SleepReader } = await import(process.argv[2]);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const lines = [];
const logger = Object.fromEntries(["info", "warn", "error"].map((level) => [level, (text) => lines.push([level, text])]));
const tokens = [];
const changes = [];
let reader;
let emitter;

const askForToken = () => {
  say({ wants: "token" });
  return new Promise((resolve) => tokens.push(resolve));
};

const COMMANDS = {
  openReader: ({ url, token, options }) => {
    const onChange = ({ status, tenants }) => changes.push([status, tenants && [...tenants]]);
    reader = new SleepReader(url, token ?? askForToken, { ...options, logger, onChange });
  },
  waitReady: ({ seconds }) => reader.waitReady(seconds),
  states: ({ tenants }) => tenants.map((tenant) => reader.state(tenant)),
  status: () => ({ reader: reader?.status, emitter: emitter?.status, dropped: emitter?.dropped }),
  changes: () => changes,
  lines: () => lines,
  closeReader: () => reader.close(),
  openEmitter: ({ url, token, options }) => {
    emitter = new Emitter(url, token, { ...options, logger });
  },
  report: ({ tenant, breaker, state, options }) => emitter.report(tenant, breaker, state, options),
  closeEmitter: ({ options }) => emitter.close(options),
  token: ({ value }) => tokens.shift()(value),
  setClock: ({ milliseconds }) => {
    wrongBy = milliseconds;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, name, ...values } = JSON.parse(line);
  // Not awaited: a command that waits holds up no other one.
  (async () => COMMANDS[name](values))().then(
    (result) => say({ id, result: result ?? null }),
    (error) => say({ id, error: `${error.name}: ${error.message}` }),
  );
}
