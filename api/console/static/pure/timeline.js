// The states of a tenant over time.

/** Steps `{at, state, kind}` in order: `past` by the audit, `now`, `forecast`; an `edge` only closes the drawing. */
export function stepsOf(shown, rows, now) {
  const past = rows
    .filter((row) => row.kind === "transition" && row.from !== row.to && row.at <= now)
    .map((row) => ({ at: row.at, state: row.enforced ? row.to : "active", kind: "past" }))
    .sort((a, b) => a.at - b.at);
  const oldest = rows.filter((row) => row.kind === "transition" && row.from !== row.to).at(-1);
  const forecast = shown.forecast.filter((entry) => entry.at > now).map((entry) => ({ at: entry.at, state: entry.state, kind: "forecast" }));
  const steps = [...past.slice(-8), { at: now, state: shown.state, kind: "now" }, ...forecast];
  if (past.length > 0 && past.length <= 8) steps.unshift({ at: past[0].at - 1000, state: oldest.enforced ? oldest.from : "active", kind: "edge" });
  const length = Math.max(10000, steps.at(-1).at - steps[0].at);
  return [...steps, { at: steps.at(-1).at + length / 10, state: steps.at(-1).state, kind: "edge" }];
}
