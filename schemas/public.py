"""What a reader is shown of a tenant's record: the state record, and the present that follows from it."""

from typing import Any

from schemas.advance import POLICY_CHANGED, advance, with_policy
from schemas.claim import Claim
from schemas.deadlines import forecast, next_deadline, settle
from schemas.decision import decide, depth_of
from schemas.policy import Policy, Rules, Terms
from schemas.record import Record, new_record
from schemas.state import LABELS


def state_record(tenant: str, partition: int, record: Record, terms: Terms) -> dict[str, Any]:
    """Return the document on the states topic, forecast included, so that a reader needs nothing else."""
    return {
        "tenant": tenant,
        "state": LABELS[record.state],
        "decided": LABELS[record.decided],
        "since": record.since,
        "cause": None if record.cause is None else record.cause.as_json(),
        "claims": _claims(record, terms),
        "parameters": record.ramp.as_json(),
        "forecast": [entry.as_json() for entry in forecast(record, terms)],
        "policy": None if record.policy is None else record.policy.document,
        "policy_version": record.policy_version,
        "next_deadline": next_deadline(record, terms),
        "held_until": record.held_until,
        "at": record.at,
        "clock": record.clock,
        "position": f"{partition}:{record.offset}",
        "version": record.version,
        "rules_number": record.rules_number,
    }


def _claims(record: Record, terms: Terms) -> list[dict[str, Any]]:
    return [claim.as_json(depth_of(claim, terms)) for _, claim in sorted(record.claims.items())]


def _shown_claim(claim: Claim) -> Claim:
    return claim if claim.occurred_at is None else claim._replace(occurred_at=None)


def shows_the_same(before: Record, after: Record, terms_before: Terms, terms_after: Terms) -> bool:
    """Tell whether a reader sees no difference, clock, `occurred_at` and the number of the rules aside."""
    if before is after and terms_before is terms_after:
        return True
    if before[:4] != after[:4] or before.ramp != after.ramp or before.held_until != after.held_until:
        return False
    if before.policy_version != after.policy_version:
        return False
    if before.claims is not after.claims and (
        before.claims.keys() != after.claims.keys()
        or any(_shown_claim(claim) != _shown_claim(after.claims[key]) for key, claim in before.claims.items())
    ):
        return False
    if terms_before is terms_after:
        return True
    return (
        all(
            depth_of(claim, terms_before) == depth_of(after.claims[key], terms_after)
            for key, claim in before.claims.items()
        )
        and forecast(before, terms_before) == forecast(after, terms_after)
        and next_deadline(before, terms_before) == next_deadline(after, terms_after)
    )


def present(tenant: str, partition: int, record: Record | None, rules: list[Rules], now: int) -> dict[str, Any]:
    """Return the tenant as it is at `now`, in milliseconds: what `GET /api/brain/sleep_mode` answers.

    `record` is None for a tenant never seen, and `rules` are all those of the partition, by number. What fell due
    since the record's last event is settled first.
    """
    if record is None:
        record = new_record(rules[-1], now)
    terms = rules[record.rules_number].terms_for(record.policy)
    record, _ = settle(record, terms, now)
    return {
        "tenant_id": tenant,
        "state": LABELS[record.state],
        "decided": LABELS[record.decided],
        "enforced": terms.policy.enforce,
        "since": record.since,
        "cause": None if record.cause is None else record.cause.as_json(),
        "claims": _claims(record, terms),
        "parameters": record.ramp.read(now),
        "target_parameters": record.ramp.target.as_json(),
        "forecast": [{"at": entry.at, "state": LABELS[entry.state]} for entry in forecast(record, terms)],
        "policy_version": record.policy_version,
        "now": now,
        "position": f"{partition}:{record.offset}" if record.offset >= 0 else None,
    }


def preview(
    tenant: str, partition: int, record: Record | None, rules: list[Rules], policy: Policy, now: int
) -> dict[str, Any]:
    """Return the tenant as `present` would show it at `now`, in milliseconds, had it just been given a policy.

    It takes the steps that the fold takes with such an event. The position stays, since nothing is published.
    """
    if record is None:
        record = new_record(rules[-1], now)
    clock = max(record.clock, now)
    changed = with_policy(advance(record, rules, clock).record, policy)
    changed, _ = decide(changed, rules[-1].terms_for(policy), clock, POLICY_CHANGED)
    return present(tenant, partition, changed, rules, now)
