import assert from "node:assert/strict";
import { test } from "node:test";

import { LOOK_UP_AFTER_MS as KEPT_MS } from "./pure/mass_run.js";
import { adviceOf, RunPlace } from "./pure/run_place.js";

const ABOUT = { kind: "pin", state: "active", ttl: 600, filters: { state: "freeze", text: "eu-" } };
const ASKED = { subject: "ops", filters: { text: "eu-", state: "freeze" } };

/** A page: its place for a run, with what the browser keeps between pages. */
function page(browser) {
  const store = { read: () => browser.text, write: (text) => (browser.text = text), forget: () => (browser.text = null) };
  return new RunPlace(store, () => browser.now);
}

const browserAt = (now) => ({ text: null, now });
const runOf = (more = {}) => ({ name: "night", subject: "ops", title: "Pin awake active for 600 s", count: 10, left: 4, running: true, ...more });

test("a run that the end of a session has stopped is still there to be lost", () => {
  const place = page(browserAt(1000));
  assert.equal(place.left, false);
  const run = runOf();
  place.begin(run, ABOUT);
  run.running = false;
  assert.equal(place.left, true);
  run.left = 0;
  assert.equal(place.left, false);
});

test("the next page offers the run to its own reader for the same filters", () => {
  const browser = browserAt(1000);
  page(browser).begin(runOf(), ABOUT);
  const next = page(browser);
  assert.deepEqual(next.offer(ASKED), { name: "night", title: "Pin awake active for 600 s", kind: "pin", state: "active", ttl: 600, until: 1000 + KEPT_MS });
  assert.equal(next.offer({ ...ASKED, subject: "other" }), null);
  assert.equal(next.offer({ ...ASKED, filters: { state: "freeze" } }), null);
  browser.now = 1000 + KEPT_MS;
  assert.equal(next.offer(ASKED), null, "the log may have forgotten the first commands");
});

test("a run that is continued has no more time than before", () => {
  const browser = browserAt(1000);
  page(browser).begin(runOf(), ABOUT);
  browser.now = 5000;
  page(browser).begin(runOf(), ABOUT);
  assert.equal(page(browser).offer(ASKED).until, 1000 + KEPT_MS);
  page(browser).begin(runOf({ name: "later" }), ABOUT);
  assert.equal(page(browser).offer(ASKED).until, 5000 + KEPT_MS);
});

test("nothing is kept of a run that is finished or closed", () => {
  for (const end of [(place, run) => ((run.left = 0), place.changed()), (place) => place.close()]) {
    const browser = browserAt(1000);
    const place = page(browser);
    const run = runOf();
    place.begin(run, ABOUT);
    assert.notEqual(browser.text, null);
    end(place, run);
    assert.equal(browser.text, null);
  }
});

test("what is kept is the name and the command, and no list of tenants", () => {
  const browser = browserAt(1000);
  page(browser).begin(runOf({ tenants: ["acme"] }), ABOUT);
  assert.deepEqual(Object.keys(JSON.parse(browser.text)).sort(), ["at", "filters", "kind", "name", "state", "subject", "title", "ttl"]);
});

test("a text that is no run of ours offers nothing", () => {
  for (const text of ["", "null", "[]", "{", `{"name":"a b","subject":"ops","filters":"","at":1000}`]) {
    const browser = { text, now: 1000 };
    assert.equal(page(browser).offer(ASKED), null, text);
  }
});

test("listeners hear of each change until they end", () => {
  const place = page(browserAt(1000));
  let heard = 0;
  const end = place.listen(() => (heard += 1));
  place.begin(runOf(), ABOUT);
  place.changed();
  place.close();
  end();
  place.changed();
  assert.equal(heard, 3);
});

test("the sign-in screen says how a run is continued", () => {
  const stays = adviceOf(runOf(), false);
  assert.match(stays, /Sign in as ops to go on with 4 tenants/);
  assert.match(stays, /the same name within an hour continues it/);
  const leaves = adviceOf(runOf(), true);
  assert.match(leaves, /leaves this page, and the list of tenants is lost/);
  assert.match(leaves, /Sign in as ops and choose the same filters: the same name within an hour continues it/);
});
