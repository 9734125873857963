"""Step 4 of the fold: what one event does to a tenant's claims or policy, or why it is refused.

Each function takes the record after steps 1 to 3, the terms in force, the event's data, the tenant's `now`
and the record's own time `at` (milliseconds of the log), and returns a new record or a refusal. None decides:
the decision is taken afterwards, in one place.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from schemas import events
from schemas.advance import POLICY_CHANGED, with_policy
from schemas.claim import MAX_BREAKERS, MAX_OPERATIONS, MODE, PIN, Cause, Claim, ClaimKey, Claims
from schemas.decision import depth_of
from schemas.events import Breaker, Cancel, Mode, Operation, PolicyChange
from schemas.operation import RefusalCode
from schemas.policy import BreakerRule, InvalidDocumentError, Terms, parse_policy
from schemas.record import Record
from schemas.state import BY_LABEL, BreakerState, SleepState
from schemas.values import seconds

MAX_SKEW_MS: Final = 60_000
"""How far a breaker event's `occurred_at` may lie after the record's own time."""
_LEASE_OF_ACTIVE_MS: Final = 900_000
"""Lease of a claim that means active under a rule without one: such a claim is only kept for its order."""


class Applied(NamedTuple):
    """The record with the event applied, and the cause that a change of the decision will have.

    The cause is None where no claim came, went or changed its meaning, so that there is nothing to decide.
    """

    record: Record
    cause: Cause | None
    expires_at: int | None = None


class Refusal(NamedTuple):
    """Why the event changes nothing; `detail` is for people."""

    code: RefusalCode
    detail: str


Step = Applied | Refusal


def apply_breaker(  # noqa: PLR0911 - a return for each thing that can come of it
    record: Record, terms: Terms, data: Breaker, now: int, at: int
) -> Step:
    """Set, renew or move a breaker's claim; `data.occurred_at` is the emitter's time, if it gave one."""
    occurred_at = data.occurred_at
    if occurred_at is not None and occurred_at > at + MAX_SKEW_MS:
        return Refusal(
            "clock_skew",
            f"occurred_at is {occurred_at - at} ms after the log's time; set the emitter's clock",
        )
    key = f"{data.breaker}@{data.instance}"
    held = record.claims.get(("breaker", key))
    if held is not None and occurred_at is not None and held.occurred_at is not None and occurred_at < held.occurred_at:
        return Refusal("stale_event", f"an event of {key} that occurred at {held.occurred_at} was applied before")
    lease_ms = _lease_ms(terms.policy.rule_of(data.breaker), data.state)
    if held is not None and held.breaker_state == data.state:
        expires_at = _renewed(held.expires_at, lease_ms, now)
        if expires_at == held.expires_at and occurred_at == held.occurred_at:
            return Applied(record, None)
        renewed = held._replace(expires_at=expires_at, occurred_at=occurred_at)
        return Applied(record._replace(claims={**record.claims, ("breaker", key): renewed}), None)
    expires_at = now + lease_ms if lease_ms else None
    claim = Claim("breaker", key, None, data.state, occurred_at, now, expires_at, None, data.cause)
    cause = Cause("breaker", key)
    claims = record.claims
    if held is not None or len(claims) < MAX_BREAKERS:
        return Applied(record._replace(claims={**claims, ("breaker", key): claim}), cause)
    room = _make_room(claims, claim, terms)
    if room is None:
        return Refusal("too_many_claims", f"the tenant has {MAX_BREAKERS} breaker claims and each means sleep")
    return Applied(record, None) if room is claims else Applied(record._replace(claims=room), cause)


def _lease_ms(rule: BreakerRule, state: BreakerState) -> int:
    """Return the lease that an event in this state gets, 0 for none."""
    if rule.means[state] is SleepState.active:
        return rule.lease_ms or _LEASE_OF_ACTIVE_MS
    return 0 if state == "forced_open" else rule.lease_ms


def _renewed(expires_at: int | None, lease_ms: int, now: int) -> int | None:
    """Return the end of a renewed claim, which stays while three quarters of the lease or more are left."""
    if not lease_ms:
        return None
    if expires_at is not None and 3 * lease_ms <= 4 * (expires_at - now) <= 4 * lease_ms:
        return expires_at
    return now + lease_ms


def _make_room(claims: Claims, claim: Claim, terms: Terms) -> Claims | None:
    """Return the claims with a new breaker's among them, at the expense of an idle one where they are too many.

    The same claims come back where the new one is not worth keeping; None means that there is no room.
    """
    breakers = [held for held in claims.values() if held.source == "breaker"]
    if len(breakers) < MAX_BREAKERS:
        return {**claims, ("breaker", claim.key): claim}
    if depth_of(claim, terms) is SleepState.active:
        return claims
    idle = [held for held in breakers if depth_of(held, terms) is SleepState.active]
    if not idle:
        return None
    first = min(idle, key=lambda held: (held.expires_at is None, held.expires_at or 0, held.key))
    kept = {key: held for key, held in claims.items() if held is not first}
    return {**kept, ("breaker", claim.key): claim}


def apply_operation(record: Record, terms: Terms, data: Operation, now: int, _at: int) -> Step:
    """Add a claim that ends by itself after the mandatory TTL."""
    refusal = _bad_ttl(data.ttl_ms, terms)
    if refusal is not None or data.ttl_ms is None:
        return refusal or _missing_ttl("an operation", terms)
    if sum(source == "operation" for source, _ in record.claims) >= MAX_OPERATIONS:
        return Refusal("too_many_operations", f"the tenant has {MAX_OPERATIONS} live operations; cancel one, or wait")
    state, expires_at = BY_LABEL[data.target], now + data.ttl_ms
    claim = Claim("operation", data.operation_id, state, None, None, now, expires_at, data.actor, data.reason)
    return _with_claim(record, claim, Cause("operation", data.operation_id))


def apply_cancel(record: Record, _terms: Terms, data: Cancel, _now: int, _at: int) -> Step:
    """End one of the tenant's own live operations."""
    key: ClaimKey = ("operation", data.cancels)
    if key not in record.claims:
        return Refusal("not_running", f"{data.cancels} is not a live operation of the tenant")
    return Applied(_without_claim(record, key), Cause("cancel", data.cancels))


def apply_mode(record: Record, terms: Terms, data: Mode, now: int, _at: int) -> Step:
    """Set or remove the mode, or with `override` the pin, which alone decides while it lives."""
    refusal = _bad_ttl(data.ttl_ms, terms)
    if refusal is not None:
        return refusal
    key = PIN if data.override else MODE
    cause = Cause("pin", "pin") if data.override else Cause("mode", "mode")
    if data.target == "active" and (data.ttl_ms is None or not data.override):
        if data.ttl_ms is not None:
            return Refusal("ttl_out_of_range", "mode active without override takes no TTL: it removes the mode")
        return Applied(_without_claim(record, key), cause)
    if data.override and data.ttl_ms is None:
        return _missing_ttl("a pin", terms)
    state = BY_LABEL[data.target]
    expires_at = None if data.ttl_ms is None else now + data.ttl_ms
    claim = Claim(*key, state, None, None, now, expires_at, data.actor, data.reason)
    held = record.claims.get(key)
    if held is not None and held.state is state:
        claim = claim._replace(since=held.since, reason=held.reason)
    return _with_claim(record, claim, cause)


def apply_policy(record: Record, _terms: Terms, data: PolicyChange, _now: int, _at: int) -> Step:
    """Set the tenant's policy, or return it to the rules'."""
    if data.if_version is not None and data.if_version != record.policy_version:
        return Refusal("version_conflict", f"the policy has version {record.policy_version}, not {data.if_version}")
    try:
        policy = None if data.policy is None else parse_policy(data.policy)
    except InvalidDocumentError as error:
        return Refusal("invalid_policy", str(error))
    return Applied(with_policy(record, policy), POLICY_CHANGED)


def _bad_ttl(ttl_ms: int | None, terms: Terms) -> Refusal | None:
    longest = terms.policy.max_ttl_ms
    if ttl_ms is None or 1 <= ttl_ms <= longest:
        return None
    return Refusal("ttl_out_of_range", f"the TTL must be from 0.001 to {seconds(longest)} seconds")


def _missing_ttl(what: str, terms: Terms) -> Refusal:
    return Refusal("ttl_out_of_range", f"{what} needs a TTL of at most {seconds(terms.policy.max_ttl_ms)} seconds")


def _with_claim(record: Record, claim: Claim, cause: Cause) -> Applied:
    claims = {**record.claims, (claim.source, claim.key): claim}
    return Applied(record._replace(claims=claims), cause, claim.expires_at)


def _without_claim(record: Record, key: ClaimKey) -> Record:
    if key not in record.claims:
        return record
    return record._replace(claims={held: claim for held, claim in record.claims.items() if held != key})


APPLY: Final[Mapping[str, Callable[[Record, Terms, Any, int, int], Step]]] = {
    events.BREAKER: apply_breaker,
    events.OPERATION: apply_operation,
    events.CANCEL: apply_cancel,
    events.MODE: apply_mode,
    events.POLICY: apply_policy,
}
"""What each type of event does. A timer is not here: it applies nothing."""
