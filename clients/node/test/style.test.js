/** The form of the sources: what a formatter would see, without one. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { builtinModules } from "node:module";
import { test } from "node:test";

const ROOT = new URL("..", import.meta.url);
const files = readdirSync(ROOT, { recursive: true }).filter((name) => /^(?!node_modules).*\.(js|ts)$/.test(name));

/** What a core must not have. */
const MACHINE = new RegExp(
  ["Date\\.now", "new Date", "performance\\.", "set(Timeout|Interval|Immediate)", "fetch\\(", "Math\\.random"]
    .concat(["console\\.", "node:", "runtime/"])
    .map((each) => `\\b${each}`)
    .join("|"),
);

/** What is wrong with a line, by a pattern. */
const WRONG = [
  [/.{121}/u, "more than 120 characters"],
  [/[ \t]$/, "space at the end"],
  [/\t/, "a tab"],
  [/\bdebugger\b|\.only\(/, "left behind"],
];

for (const file of files) {
  test(`style: ${file}`, () => {
    const text = readFileSync(new URL(file, ROOT), "utf8");
    assert.ok(text.endsWith("\n") && !text.endsWith("\n\n") && !text.includes("\r"), "one line end at the end");
    text.split("\n").forEach((line, index) => {
      for (const [pattern, what] of WRONG) {
        assert.ok(!pattern.test(line), `${file}:${index + 1}: ${what}`);
      }
    });
  });
}

/** What a binding may import: an optional peer dependency of the package. */
const PEERS = new Map([["src/openfeature.js", "@openfeature/server-sdk"]]);

test("sources import nothing but Node, each other, and the library of a binding", () => {
  for (const file of files.filter((name) => name.startsWith("src/"))) {
    const text = readFileSync(new URL(file, ROOT), "utf8");
    for (const [, target] of text.matchAll(/^(?:import|export)\b[^;]*?from "([^"]+)";/gm)) {
      if (PEERS.get(file) === target) continue;
      assert.ok(/^\.\.?\//.test(target) || builtinModules.includes(target.replace("node:", "")), `${file}: ${target}`);
    }
  }
});

test("the cores touch no machine: no clock, no timer, no connection, no randomness", () => {
  for (const file of files.filter((name) => /^src\/(protocol|reading|emission)\//.test(name))) {
    const text = readFileSync(new URL(file, ROOT), "utf8");
    const found = MACHINE.exec(text);
    assert.equal(found, null, `${file}: ${found?.[0]}`);
  }
});
