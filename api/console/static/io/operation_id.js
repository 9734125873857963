// The operation id of a command with a key: a UUID of version 5 (RFC 9562), as the API makes it.

const NAMESPACE = "784f53eb-d9e1-44dc-b3bb-f3c0c06dd5bd";

export async function operationIdOf(tenant, subject, key) {
  const space = Uint8Array.from(NAMESPACE.replaceAll("-", "").match(/../g), (pair) => parseInt(pair, 16));
  const name = new TextEncoder().encode(`${tenant}\n${subject}\n${key}`);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-1", new Uint8Array([...space, ...name]))).slice(0, 16);
  hash[6] = (hash[6] & 0x0f) | 0x50;
  hash[8] = (hash[8] & 0x3f) | 0x80;
  const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
