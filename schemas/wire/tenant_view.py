"""The documents of a tenant's record: the state record, and the present state."""

from typing import Any

from schemas.domain.advance import POLICY_CHANGED, advance, with_policy
from schemas.domain.claim import Claim
from schemas.domain.deadlines import forecast, next_deadline, settle
from schemas.domain.decision import decide, depth_of
from schemas.domain.explanation import explain, notes_on
from schemas.domain.policy import Policy, Rules, Terms
from schemas.domain.record import Record, new_record
from schemas.domain.state import LABELS


def state_record(tenant: str, partition: int, record: Record, terms: Terms) -> dict[str, Any]:
    """Return the document for the states topic, with the forecast, so that a reader needs nothing else."""
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
    """Tell whether two records are equal for readers, except for clock, `occurred_at` and the number of the rules."""
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
    """Return the document of the tenant at `now`, in milliseconds, for `GET /api/brain/sleep_mode`.

    `record` is None for a new tenant, and `rules` are all rules of the partition, by number. Expirations since the
    record's last event are applied first, so the explanation is of the present decision.
    """
    seen = record is not None
    record, terms = _settled(record, rules, now)
    explanation = explain(record, rules[record.rules_number])
    return {
        "tenant_id": tenant,
        "seen": seen,
        "state": LABELS[record.state],
        "decided": LABELS[record.decided],
        "enforced": terms.policy.enforce,
        "decided_by": explanation.as_json(),
        "since": record.since,
        "cause": None if record.cause is None else record.cause.as_json(),
        "claims": _claims(record, terms),
        "parameters": record.ramp.read(now),
        "target_parameters": record.ramp.target.as_json(),
        "forecast": _forecast(record, terms),
        "policy_version": record.policy_version,
        "notes": notes_on(terms.policy, explanation.unmatched),
        "now": now,
        "position": f"{partition}:{record.offset}" if record.offset >= 0 else None,
    }


def entry(tenant: str, record: Record, rules: list[Rules], now: int) -> dict[str, Any]:
    """Return the tenant at `now` for a list: the fields of `present` without the explanation."""
    record, terms = _settled(record, rules, now)
    return {
        "tenant_id": tenant,
        "state": LABELS[record.state],
        "since": record.since,
        "cause": None if record.cause is None else record.cause.as_json(),
        "forecast": _forecast(record, terms),
    }


def _settled(record: Record | None, rules: list[Rules], now: int) -> tuple[Record, Terms]:
    """Return a record at `now`, or a new one, and the terms that it was last folded under."""
    if record is None:
        record = new_record(rules[-1], now)
    terms = rules[record.rules_number].terms_for(record.policy)
    return settle(record, terms, now)[0], terms


def _forecast(record: Record, terms: Terms) -> list[dict[str, Any]]:
    return [{"at": step.at, "state": LABELS[step.state]} for step in forecast(record, terms)]


def preview(
    tenant: str, partition: int, record: Record | None, rules: list[Rules], policy: Policy, now: int
) -> dict[str, Any]:
    """Return the document of the tenant at `now`, in milliseconds, as after a change to this policy.

    The steps are those of the fold with such an event. The position stays, since nothing is published.
    """
    if record is None:
        record = new_record(rules[-1], now)
    clock = max(record.clock, now)
    changed = with_policy(advance(record, rules, clock).record, policy)
    changed, _ = decide(changed, rules[-1].terms_for(policy), clock, POLICY_CHANGED)
    return present(tenant, partition, changed, rules, now)
