"""The documents of a tenant's record: the state record, and the present state."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from schemas.domain.advance import POLICY_CHANGED, advance, with_policy
from schemas.domain.claim import Cause, Claim, Source
from schemas.domain.deadlines import forecast, next_deadline, settle
from schemas.domain.decision import decide, depth_of
from schemas.domain.explanation import explain, notes_on
from schemas.domain.policy import Policy, Rules, Terms
from schemas.domain.record import Record, new_record
from schemas.domain.schedule import Ramp
from schemas.domain.state import LABELS, BreakerState, StateName

_JSON: Final = msgspec.json.Encoder()


class _ShownClaim(Struct, frozen=True, gc=False):
    """A claim in a state record: `state` is its present depth."""

    source: Source
    key: str
    state: StateName
    breaker_state: BreakerState | None
    occurred_at: int | None
    since: int
    expires_at: int | None
    actor: str | None
    reason: str | None


class _ShownForecast(Struct, frozen=True, gc=False):
    """A change of `state` to come, in a state record."""

    at: int
    state: StateName
    parameters: Ramp


class _StateRecord(Struct, frozen=True, gc=False):
    """The document for the states topic: specification.md#state-record has its fields in this order."""

    tenant: str
    state: StateName
    decided: StateName
    since: int
    cause: Cause | None
    claims: list[_ShownClaim]
    parameters: Ramp
    forecast: list[_ShownForecast]
    policy: dict[str, Any] | None
    policy_version: int
    next_deadline: int | None
    held_until: int | None
    at: int
    clock: int
    position: str
    version: int
    rules_number: int


def state_record(tenant: str, partition: int, record: Record, terms: Terms) -> dict[str, Any]:
    """Return the document for the states topic, with the forecast, so that a reader needs nothing else."""
    document: dict[str, Any] = msgspec.to_builtins(_state_record(tenant, partition, record, terms))
    return document


def encoded_state(tenant: str, partition: int, record: Record, terms: Terms) -> bytes:
    """Return the value of a record for the states topic: `state_record` as JSON."""
    return _JSON.encode(_state_record(tenant, partition, record, terms))


def _state_record(tenant: str, partition: int, record: Record, terms: Terms) -> _StateRecord:
    return _StateRecord(
        tenant,
        LABELS[record.state],
        LABELS[record.decided],
        record.since,
        record.cause,
        [_shown(claim, terms) for _, claim in sorted(record.claims.items())],
        record.ramp,
        [_ShownForecast(change.at, LABELS[change.state], change.ramp) for change in forecast(record, terms)],
        None if record.policy is None else record.policy.document,
        record.policy_version,
        next_deadline(record, terms),
        record.held_until,
        record.at,
        record.clock,
        f"{partition}:{record.offset}",
        record.version,
        record.rules_number,
    )


def _shown(claim: Claim, terms: Terms) -> _ShownClaim:
    return _ShownClaim(
        claim.source,
        claim.key,
        LABELS[depth_of(claim, terms)],
        claim.breaker_state,
        claim.occurred_at,
        claim.since,
        claim.expires_at,
        claim.actor,
        claim.reason,
    )


def _claims(record: Record, terms: Terms) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(_shown(claim, terms)) for _, claim in sorted(record.claims.items())]


def _look_the_same(before: Claim, after: Claim) -> bool:
    """Tell whether two claims with the same source and key differ at most in `occurred_at`."""
    return before is after or (
        before.state is after.state
        and before.breaker_state == after.breaker_state
        and before.since == after.since
        and before.expires_at == after.expires_at
        and before.actor == after.actor
        and before.reason == after.reason
    )


def shows_the_same(before: Record, after: Record, terms_before: Terms, terms_after: Terms) -> bool:
    """Tell whether two records are equal for readers, except for clock, `occurred_at` and the number of the rules."""
    if before is after and terms_before is terms_after:
        return True
    if (
        before.state is not after.state
        or before.decided is not after.decided
        or before.since != after.since
        or before.cause != after.cause
        or before.ramp != after.ramp
        or before.held_until != after.held_until
        or before.policy_version != after.policy_version
    ):
        return False
    if before.claims is not after.claims and (
        before.claims.keys() != after.claims.keys()
        or not all(_look_the_same(claim, after.claims[key]) for key, claim in before.claims.items())
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
        "policy_version": record.policy_version,
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
