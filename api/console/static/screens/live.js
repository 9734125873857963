// Transitions as they come, the newest on top.

import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { follow } from "../io/stream.js";
import { html, Empty, Failure, Link, State, Time, useThrottled } from "../parts/ui.js";
import { addressOf } from "../pure/address.js";
import { LiveRows } from "../pure/live_rows.js";
import { causeText } from "../pure/words.js";

export function Live({ api, permissions }) {
  const all = permissions.may("list", null);
  if (!all && !(permissions.tenant && permissions.may("read", permissions.tenant))) {
    return html`<h1>Live</h1><${Empty}>Your token shows no transitions.<//>`;
  }
  return html`<${Stream} api=${api} path=${all ? "/api/tenants/events" : "/api/brain/sleep_events"} of=${all ? "all tenants" : permissions.tenant} />`;
}

function Stream({ api, path, of }) {
  const draw = useThrottled();
  const rows = useRef(null);
  rows.current ??= new LiveRows();
  const link = useRef({ live: false, problem: null, since: null });
  const [paused, setPaused] = useState(false);
  useEffect(
    () =>
      follow(api, path, {
        connect() {
          link.current = { live: true, problem: null, since: null };
          draw();
        },
        event(name, data) {
          if (name === "transition") rows.current.add(data);
          if (name === "reset") rows.current.reset(data);
          draw();
        },
        lost(problem) {
          link.current = { live: false, problem, since: link.current.problem ? link.current.since : api.now() };
          draw();
        },
        refused(problem) {
          link.current = { live: false, problem, since: api.now(), refused: true };
          draw();
        },
      }),
    [api, path],
  );
  const toggle = () => {
    rows.current.pause(!paused);
    setPaused(!paused);
  };
  const { shown, waiting, dropped, gap } = rows.current;
  const now = api.now();
  return html`<div class="title"><h1>Live</h1><${Link} link=${link.current} /></div>
    ${link.current.problem && html`<${Failure} problem=${link.current.problem} />`}
    <p><button type="button" aria-pressed=${paused} onClick=${toggle}>${paused ? "Go on" : "Pause"}</button> <span role="status">${paused ? `Paused: ${waiting.length} have come since${dropped ? `, ${dropped} of them too many to keep` : ""}.` : `Transitions of ${of} since you opened this screen.`}</span></p>
    ${gap && html`<p class="note">Some transitions are missing: ${gap}</p>`}
    ${shown.length === 0 ? html`<${Empty}>Nothing has changed yet. What was before is in the <a href=${addressOf("audit")}>audit</a>.<//>` : html`<ol class="rows" aria-label="Transitions, the newest first">${shown.map((row) => html`<li key=${row.id}><${Time} at=${row.at} now=${now} /> <a class="break" href=${addressOf("tenant", { tenant: row.tenant, filters: { at: row.at } })}>${row.tenant}</a> <${State} state=${row.from} /> → <${State} state=${row.to} /> <span class="break">${causeText(row.cause)}${row.actor ? `, by ${row.actor}` : ""}${row.reason ? `: ${row.reason}` : ""}${row.enforced ? "" : " (dry run)"}</span></li>`)}</ol>`}`;
}
