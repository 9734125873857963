// The text format of Prometheus, as far as the console reads it.

/** Each sample as `[name, labels as text, value]`. */
export function parseMetrics(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(\{.*\})? ([^ ]+)/.exec(line);
    if (match) samples.push([match[1], match[2] ?? "", Number(match[3])]);
  }
  return samples;
}

/** How many streams are open; null if the metrics do not say. */
export function readersOf(samples) {
  const found = samples.filter(([name]) => name === "sleep_api_streams");
  return found.length === 0 ? null : found.reduce((sum, [, , value]) => sum + value, 0);
}
