// Sentences about a tenant, a claim, or a row of the audit. Only text comes out: whoever shows it escapes it.

import { duration, localTime } from "./time.js";

const FROZEN = { active: "awake", light: "in light sleep", deep: "in deep sleep", freeze: "frozen" };

const CAUSES = {
  breaker: (key) => `breaker ${key}`,
  operation: (key) => `sleep ${key}`,
  cancel: (key) => `cancel of ${key}`,
  mode: () => "the mode",
  pin: () => "the pin",
  policy: () => "a change of the policy",
  rules: () => "newer rules of the platform",
  expired: (key) => `the end of ${key}`,
  pin_ended: () => "the end of the pin",
  hold_ended: () => "the end of the minimum sleep",
};

/** A cause in words; one that this version does not know is shown as it came. */
export function causeText(cause) {
  if (!cause) return "nothing yet";
  const say = Object.hasOwn(CAUSES, cause.kind) ? CAUSES[cause.kind] : undefined;
  return say ? say(cause.key) : `${cause.kind} ${cause.key ?? ""}`.trim();
}

/** A claim's name: the breaker, the operation, the mode or the pin. */
export function claimText(claim) {
  if (claim.source === "breaker") return `breaker ${claim.key}${claim.breaker_state ? ` is ${claim.breaker_state}` : ""}`;
  if (claim.source === "operation") return `sleep ${claim.key}`;
  return `the ${claim.source}`;
}

/** Is the tenant pinned, or asleep without an end? Such tenants need a person. */
export function openEnded(record) {
  return record.claims.some((claim) => claim.source === "pin" || (claim.expires_at === null && claim.state !== "active"));
}

function because(tenant) {
  const decision = tenant.decided_by;
  if (!decision) return `the last change came from ${causeText(tenant.cause)}`;
  const claim = decision.claim;
  const named = () => {
    if (!claim) return "no claim asks for sleep";
    if (claim.quorum) return `${claim.quorum.have} instances of breaker ${claim.quorum.breaker} ask for it (quorum ${claim.quorum.need})`;
    const full = tenant.claims.find((one) => one.source === claim.source && one.key === claim.key);
    return full && claim.source === "breaker" ? claimText(full) : `${claimText({ ...claim, breaker_state: null })} asks for it`;
  };
  switch (decision.kind) {
    case "nothing":
      return decision.unmet_quorums.length ? "no breaker has its quorum" : "no claim asks for sleep";
    case "claim":
      return named();
    case "pin":
      return "it is pinned";
    case "floor":
      return `the policy's floor is ${decision.floor}`;
    case "ceiling":
      return `the ceiling of the ${decision.ceiling.of === "rules" ? "rules" : "policy"} is ${decision.ceiling.state}`;
    case "hold":
      return `the minimum sleep holds it`;
    default:
      return decision.kind;
  }
}

function next(tenant) {
  const change = tenant.forecast.find((one) => one.at > tenant.now);
  if (!change) return tenant.state === "active" ? "it stays awake unless something new comes" : "no end is known: somebody must wake it";
  const at = localTime(change.at, tenant.now);
  const breaker = tenant.decided_by?.claim?.source === "breaker";
  const unless = breaker ? " unless it reports again" : "";
  return change.state === "active" ? `wakes at ${at}${unless}` : `goes to ${change.state} at ${at}${unless}`;
}

/** One sentence: the state, since when, why, and what comes next. */
export function whySentence(tenant) {
  if (!tenant.seen) return "never seen: no event of this tenant was applied, or its record has retired";
  const since = localTime(tenant.since, tenant.now);
  const dry = tenant.enforced ? "" : ` This is a dry run: it would be ${FROZEN[tenant.decided] ?? tenant.decided}.`;
  const word = FROZEN[tenant.state] ?? tenant.state;
  return `${word} since ${since} because ${because(tenant)}; ${next(tenant)}.${dry}`;
}

/** How long a claim still lives: its lease or TTL counts down. */
export function remaining(expiresAt, now) {
  if (expiresAt === null) return "no end";
  return expiresAt <= now ? "ended" : `ends in ${duration(expiresAt - now)}`;
}

/** A row of the audit in one sentence. */
export function rowSentence(row) {
  const who = row.actor ? `, by ${row.actor}` : "";
  if (row.kind === "refusal") return `refused ${row.code}: a ${kindOf(row)} was not applied${who}`;
  if (row.kind === "outcome") return `applied: ${kindOf(row)}${who}`;
  const dry = row.enforced ? "" : " (dry run)";
  return `${row.from} → ${row.to}${dry} because of ${causeText(row.cause)}${who}`;
}

function kindOf(row) {
  const match = /^sleep\.([a-z_]+)\.v\d+$/.exec(row.event_type);
  return match ? { operation: "sleep", breaker: "report of a breaker" }[match[1]] ?? match[1] : row.event_type;
}
