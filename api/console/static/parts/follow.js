// The stream of states as a hook: what is known, and whether it is live.

import { useEffect, useMemo, useRef } from "../vendor/hooks.js";
import { follow } from "../io/stream.js";
import { States } from "../pure/states.js";
import { useThrottled } from "./ui.js";

/** Follow `path` while the screen is shown. `onChange(tenant)` hears each change. */
export function useStates(api, path, onChange) {
  const states = useMemo(() => new States(), [path]);
  // A long list takes a pass for each draw, so it is drawn less often: 5 times a second with 100,000 tenants.
  const draw = useThrottled(() => Math.max(100, states.records.size / 500));
  const link = useRef({ live: false, problem: null, since: null });
  const heard = useRef(onChange);
  heard.current = onChange;
  useEffect(() => {
    link.current = { live: false, problem: null, since: null };
    return follow(api, path, {
      connect: (resumes) => states.connect(resumes),
      event(name, data) {
        const changed = states.take(name, data);
        if (name === "time" || name === "ready") api.heard(data.now);
        if (name === "ready") link.current = { live: true, problem: null, since: null };
        if (changed && (name === "state" || name === "gone")) heard.current?.(data.tenant, name);
        if (name === "ready") heard.current?.(null, name);
        draw();
      },
      lost(problem) {
        states.lose();
        const since = link.current.problem ? link.current.since : api.now();
        link.current = { live: false, problem, since };
        draw();
      },
      refused(problem) {
        states.lose();
        link.current = { live: false, problem, since: api.now(), refused: true };
        draw();
      },
    });
  }, [api, path]);
  return { states, link: link.current, draw };
}
