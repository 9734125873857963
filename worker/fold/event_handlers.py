"""Step 4 of the fold: what one event does to a tenant's claims or policy, or why it is refused.

Each function takes the record after steps 1 to 3, the terms in force, the data of the event, and two times in
milliseconds: the tenant's `now`, and the timestamp `at` of the log record. It returns a new record or a refusal. The
decision is taken afterwards, in one place.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from schemas.domain.advance import POLICY_CHANGED, with_policy
from schemas.domain.claim import MAX_OPERATIONS, MODE, PIN, Cause, Claim, ClaimKey
from schemas.domain.policy import BreakerRule, InvalidDocumentError, Terms, parse_policy
from schemas.domain.record import Record
from schemas.domain.state import BY_LABEL, BreakerState, SleepState
from schemas.domain.values import seconds
from schemas.wire import events
from schemas.wire.events import Cancel, Mode, Operation, PolicyChange
from schemas.wire.operation import RefusalCode
from schemas.wire.usual_breaker import AnyBreaker
from worker.fold.claim_limits import AT_THE_LIMIT, with_breaker

MAX_SKEW_MS: Final = 60_000
"""How far `occurred_at` of a breaker event may be ahead of the timestamp of its log record."""
_LEASE_OF_ACTIVE_MS: Final = 900_000
"""The lease of a claim that means active, under a rule without a lease. The claim is kept only to order events."""


class EventOutcome(Struct, frozen=True, gc=False):
    """The record with the event applied, and the cause of a change that the decision may lead to.

    The cause is None if no claim was added, removed or changed in meaning. Then there is nothing to decide.
    """

    record: Record
    cause: Cause | None
    expires_at: int | None = None


class Refusal(NamedTuple):
    """Why an event is refused; `detail` is a text for people."""

    code: RefusalCode
    detail: str


Step = EventOutcome | Refusal


def apply_breaker(  # noqa: PLR0911 - a return for each outcome
    record: Record, terms: Terms, data: AnyBreaker, now: int, at: int
) -> Step:
    """Set, renew or change a breaker's claim; `data.occurred_at` is the time by the emitter's clock, if it has one."""
    occurred_at = data.occurred_at
    if occurred_at is not None and occurred_at > at + MAX_SKEW_MS:
        return Refusal(
            "clock_skew",
            f"occurred_at is {occurred_at - at} ms after the log's time; set the emitter's clock",
        )
    key = f"{data.breaker}@{data.instance}"
    present = record.claims.get(("breaker", key))
    latest = None if present is None else present.occurred_at
    if latest is not None and occurred_at is not None and occurred_at < latest:
        return Refusal("stale_event", f"an event of {key} that occurred at {latest} was applied before")
    lease_ms = _lease_ms(terms.policy.rule_of(data.breaker), data.state)
    if present is not None and present.breaker_state == data.state:
        expires_at = _renewed(present.expires_at, lease_ms, now)
        if expires_at == present.expires_at and occurred_at == present.occurred_at:
            return EventOutcome(record, None)
        renewed = replace(present, expires_at=expires_at, occurred_at=occurred_at)
        return EventOutcome(replace(record, claims={**record.claims, ("breaker", key): renewed}), None)
    expires_at = now + lease_ms if lease_ms else None
    claim = Claim("breaker", key, None, data.state, occurred_at, now, expires_at, None, data.cause)
    claims = with_breaker(record.claims, claim, terms)
    if claims is None:
        return Refusal("too_many_claims", AT_THE_LIMIT)
    if claims is record.claims:
        return EventOutcome(record, None)
    return EventOutcome(replace(record, claims=claims), Cause("breaker", key))


def _lease_ms(rule: BreakerRule, state: BreakerState) -> int:
    """Return the lease of a claim in this state in ms, 0 for none."""
    if rule.means[state] is SleepState.active:
        return rule.lease_ms or _LEASE_OF_ACTIVE_MS
    return 0 if state == "forced_open" else rule.lease_ms


def _renewed(expires_at: int | None, lease_ms: int, now: int) -> int | None:
    """Return the end of a renewed claim. It does not change while at least three quarters of the lease are left."""
    if not lease_ms:
        return None
    if expires_at is not None and 3 * lease_ms <= 4 * (expires_at - now) <= 4 * lease_ms:
        return expires_at
    return now + lease_ms


def apply_operation(record: Record, terms: Terms, data: Operation, now: int, _at: int) -> Step:
    """Add a claim that expires after its TTL, which is mandatory."""
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
    return EventOutcome(_without_claim(record, key), Cause("cancel", data.cancels))


def apply_mode(record: Record, terms: Terms, data: Mode, now: int, _at: int) -> Step:
    """Set or remove the mode, or with `override` the pin, which alone decides while it lives.

    A renewal in the present state keeps `since`, and takes the new actor and reason.
    """
    refusal = _bad_ttl(data.ttl_ms, terms)
    if refusal is not None:
        return refusal
    key = PIN if data.override else MODE
    cause = Cause("pin", "pin") if data.override else Cause("mode", "mode")
    if data.target == "active" and (data.ttl_ms is None or not data.override):
        if data.ttl_ms is not None:
            return Refusal("ttl_out_of_range", "mode active without override takes no TTL: it removes the mode")
        return EventOutcome(_without_claim(record, key), cause)
    if data.override and data.ttl_ms is None:
        return _missing_ttl("a pin", terms)
    state = BY_LABEL[data.target]
    expires_at = None if data.ttl_ms is None else now + data.ttl_ms
    claim = Claim(*key, state, None, None, now, expires_at, data.actor, data.reason)
    present = record.claims.get(key)
    if present is not None and present.state is state:
        claim = replace(claim, since=present.since)
    return _with_claim(record, claim, cause)


def apply_policy(record: Record, _terms: Terms, data: PolicyChange, _now: int, _at: int) -> Step:
    """Set the tenant's policy, or remove it, so that the policy of the rules applies."""
    if data.if_version is not None and data.if_version != record.policy_version:
        return Refusal("version_conflict", f"the policy has version {record.policy_version}, not {data.if_version}")
    try:
        policy = None if data.policy is None else parse_policy(data.policy)
    except InvalidDocumentError as error:
        return Refusal("invalid_policy", str(error))
    return EventOutcome(with_policy(record, policy), POLICY_CHANGED)


def _bad_ttl(ttl_ms: int | None, terms: Terms) -> Refusal | None:
    longest = terms.policy.max_ttl_ms
    if ttl_ms is None or 1 <= ttl_ms <= longest:
        return None
    return Refusal("ttl_out_of_range", f"the TTL must be from 0.001 to {seconds(longest)} seconds")


def _missing_ttl(what: str, terms: Terms) -> Refusal:
    return Refusal("ttl_out_of_range", f"{what} needs a TTL of at most {seconds(terms.policy.max_ttl_ms)} seconds")


def _with_claim(record: Record, claim: Claim, cause: Cause) -> EventOutcome:
    claims = {**record.claims, (claim.source, claim.key): claim}
    return EventOutcome(replace(record, claims=claims), cause, claim.expires_at)


def _without_claim(record: Record, key: ClaimKey) -> Record:
    if key not in record.claims:
        return record
    return replace(record, claims={name: claim for name, claim in record.claims.items() if name != key})


APPLY: Final[Mapping[str, Callable[[Record, Terms, Any, int, int], Step]]] = {
    events.BREAKER: apply_breaker,
    events.OPERATION: apply_operation,
    events.CANCEL: apply_cancel,
    events.MODE: apply_mode,
    events.POLICY: apply_policy,
}
"""The handler of each type of event. A timer has none, since it changes no claim."""
