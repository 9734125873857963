"""The decision: how deep a tenant sleeps, given its claims, the terms in force and the time.

Only this module decides. The fold calls it after every event. A reader calls it through `schemas.domain.deadlines` for
the present. A preview calls it with a policy that is not in force.
"""

from msgspec import Struct
from msgspec.structs import replace

from schemas.domain.claim import NEVER_HELD_CAUSES, PIN, Cause, Claim, Claims
from schemas.domain.policy import Terms, breaker_name
from schemas.domain.record import Record
from schemas.domain.schedule import Ramp
from schemas.domain.state import SleepState


class Change(Struct, frozen=True, gc=False):
    """A change of `decided` or `state`; `enforced` is the policy's `enforce` after it."""

    before: SleepState
    after: SleepState
    cause: Cause
    at: int
    enforced: bool


def depth_of(claim: Claim, terms: Terms) -> SleepState:
    """Return the depth of a claim under these terms."""
    if claim.breaker_state is None:
        return claim.state or SleepState.active
    return terms.policy.rule_of_claim(claim.key).means[claim.breaker_state]


def deepest(claims: Claims, terms: Terms) -> SleepState:
    """Return the deepest depth that the claims except a pin ask for. A breaker counts only with its quorum."""
    depth = SleepState.active
    by_name: dict[str, list[SleepState]] | None = None
    policy = terms.policy
    for claim in claims.values():
        if claim.breaker_state is None:
            if claim.source != "pin" and claim.state is not None and claim.state > depth:
                depth = claim.state
            continue
        rule = policy.rule_of_claim(claim.key)
        claim_depth = rule.means[claim.breaker_state]
        if claim_depth <= depth:
            continue  # A quorum that needs this instance cannot be deeper than it.
        if rule.quorum == 1:
            depth = claim_depth
        else:
            by_name = by_name if by_name is not None else {}
            by_name.setdefault(breaker_name(claim.key), []).append(claim_depth)
    for name, depths in (by_name or {}).items():
        quorum = policy.rule_of(name).quorum
        if len(depths) >= quorum:
            depth = max(depth, sorted(depths, reverse=True)[quorum - 1])
    return depth


def wanted(claims: Claims, terms: Terms) -> SleepState:
    """Return the decision before any hold: that of a pin, or else the claims' depth between floor and ceiling."""
    pin = claims.get(PIN)
    if pin is not None and pin.state is not None:
        return pin.state
    return bounded(deepest(claims, terms), terms.policy.floor, terms.ceiling)


def bounded(asked: SleepState, floor: SleepState, ceiling: SleepState) -> SleepState:
    """Return a depth raised to the floor and then cut to the ceiling."""
    return min(max(asked, floor), ceiling)


def held_until(record: Record, target: SleepState, terms: Terms, now: int) -> int | None:
    """Return the end of the hold that keeps `decided` although `target` is shallower, None without a hold."""
    policy = terms.policy
    if target >= record.decided or not policy.min_sleep_ms:
        return None
    until = record.since + policy.min_sleep_ms
    may_hold = (
        now < until
        and policy.enforce
        and record.state is record.decided
        and terms.ceiling >= record.decided
        and PIN not in record.claims
        and (record.cause is None or record.cause.kind not in NEVER_HELD_CAUSES)
    )
    return until if may_hold else None


def decide(record: Record, terms: Terms, now: int, cause: Cause) -> tuple[Record, Change | None]:
    """Decide at `now`, and return the record with the decision, and the change, if any.

    A ramp starts when the target set changes, from the present values, with the length for the direction of `state`.
    """
    target = wanted(record.claims, terms)
    hold = held_until(record, target, terms, now)
    decided = record.decided if hold is not None else target
    policy = terms.policy
    state = decided if policy.enforce else SleepState.active
    ramp = record.ramp
    aim = terms.schedule[state]
    if state is not record.state or (aim is not ramp.target and aim != ramp.target):
        length = policy.deepen_ms if state > record.state else policy.wake_ms
        ramp = Ramp(ramp.at(now), aim, now, now + length)
    if decided is record.decided and state is record.state:
        if hold == record.held_until and ramp is record.ramp:
            return record, None
        return replace(record, held_until=hold, ramp=ramp), None
    change = Change(record.decided, decided, cause, now, policy.enforce)
    if decided is record.decided:
        return replace(record, state=state, held_until=hold, ramp=ramp), change
    return replace(record, decided=decided, state=state, since=now, cause=cause, held_until=hold, ramp=ramp), change
