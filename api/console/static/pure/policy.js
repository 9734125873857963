// A policy as a form has it, and as the API has it.

/** Fields that hold a number in the API. The form holds what was typed, so that a wrong one reaches the server's check. */
export function typedNumber(text) {
  if (typeof text !== "string") return text;
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  const number = Number(trimmed);
  return Number.isFinite(number) ? number : trimmed;
}

/** The policy that a draft says. Raises a `SyntaxError` where the schedule is no JSON. */
export function policyOf(draft) {
  const { schedule_text: text, ...rest } = draft;
  const policy = {
    ...rest,
    min_sleep_seconds: typedNumber(draft.min_sleep_seconds),
    max_ttl_seconds: typedNumber(draft.max_ttl_seconds),
    ramp_seconds: { deepen: typedNumber(draft.ramp_seconds.deepen), wake: typedNumber(draft.ramp_seconds.wake) },
    breakers: draft.breakers.map((rule) => ({ ...rule, quorum: typedNumber(rule.quorum), lease_seconds: typedNumber(rule.lease_seconds) })),
    schedule: text.trim() === "" ? null : JSON.parse(text),
  };
  return policy;
}

/** The draft of a policy. */
export function draftOf(policy) {
  const { schedule, ...rest } = structuredClone(policy);
  return { ...rest, schedule_text: schedule ? JSON.stringify(schedule, null, 2) : "" };
}

/** Where two documents differ: `[path, first, second]` for each leaf, in the order of the first. */
export function differences(first, second, path = "") {
  const plain = (value) => value !== null && typeof value === "object";
  if (!plain(first) || !plain(second)) return Object.is(first, second) ? [] : [[path, first, second]];
  const names = [...new Set([...Object.keys(first), ...Object.keys(second)])];
  return names.flatMap((name) => differences(first[name], second[name], path ? `${path}.${name}` : name));
}

/** The errors of a field or below it, by the path of the field. A name before the path (`policy.floor`) does not matter. */
export function errorsAt(errors, path) {
  return errors.filter(({ field }) => field === path || field.startsWith(`${path}.`) || field === `policy.${path}` || field.startsWith(`policy.${path}.`)).map(({ reason }) => reason);
}
