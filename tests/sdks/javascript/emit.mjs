// Writes breaker events with the official SDK, as an application does, and sends them over HTTP and over Kafka.
//
// Reads a task from stdin: {url, token, kafka, topic}. Prints one line of JSON for each event: {tenant, state}, and for
// HTTP the answer's status and text. Every event has a tenant of its own, so that each is seen to have arrived.

import { text } from "node:stream/consumers";
import { CloudEvent, HTTP, Kafka } from "cloudevents";
import { Kafka as Client, logLevel } from "kafkajs";

const task = JSON.parse(await text(process.stdin));
const data = { breaker: "payments", instance: "pod-1", state: "HALF_OPEN" };
const bytes = new TextEncoder().encode(JSON.stringify(data));

function event(tenant, more) {
  return new CloudEvent({ type: "sleep.breaker.v1", source: "urn:shop", subject: tenant, data, ...more });
}

const forms = {
  object: {},
  bytes: { data: bytes },
  buffer: { data: Buffer.from(bytes) },
  text: { data: JSON.stringify(data) },
  typed: { datacontenttype: "application/vnd.breaker+json; charset=utf-8" },
  extended: { partitionkey: "any", vendor: "café", count: 3, flag: true, dataschema: "urn:schema:1", time: "2026-11-22T10:07:17.5+02:00" },
  base64: { data: undefined, data_base64: Buffer.from(bytes).toString("base64") },
};

function report(tenant, more = {}) {
  console.log(JSON.stringify({ tenant, state: "light", ...more }));
}

async function post(tenant, headers, body) {
  const authorization = `Bearer ${task.token}`;
  const answer = await fetch(task.url, { method: "POST", headers: { ...headers, authorization }, body });
  report(tenant, { status: answer.status, text: await answer.text() });
}

for (const [form, more] of Object.entries(forms)) {
  for (const mode of ["binary", "structured"]) {
    const tenant = `js-http-${mode}-${form}`;
    const { headers, body } = HTTP[mode](event(tenant, more));
    await post(tenant, headers, body);
  }
}

const batch = Object.entries(forms).map(([form, more]) => event(`js-http-batch-${form}`, more));
const batchHeaders = { "content-type": "application/cloudevents-batch+json; charset=utf-8" };
for (const one of batch) report(one.subject);
await post(batch[0].subject, batchHeaders, JSON.stringify(batch));

const client = new Client({ brokers: [task.kafka], clientId: "sdk-test", logLevel: logLevel.ERROR });
const producer = client.producer();
await producer.connect();

// The client writes strings and buffers; what the SDK leaves as another type, an application turns into text.
function message({ key, value, headers }) {
  const named = Object.entries(headers).filter(([, header]) => header !== undefined);
  return {
    key,
    value: typeof value === "string" || ArrayBuffer.isView(value) ? Buffer.from(value) : JSON.stringify(value),
    headers: Object.fromEntries(named.map(([name, header]) => [name, String(header)])),
  };
}

const messages = [];
for (const [form, more] of Object.entries(forms)) {
  for (const mode of ["binary", "structured"]) {
    const tenant = `js-kafka-${mode}-${form}`;
    messages.push(message(Kafka[mode](event(tenant, more))));
    report(tenant);
  }
}
const inBatch = Object.entries(forms).map(([form, more]) => event(`js-kafka-batch-${form}`, more));
messages.push({ value: JSON.stringify(inBatch), headers: batchHeaders });
for (const one of inBatch) report(one.subject);
await producer.send({ topic: task.topic, messages });
await producer.disconnect();
