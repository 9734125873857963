"""Expirations without an event: applying past ones, the next deadline, and the forecast.

Expirations are applied lazily, at their own deadlines. A reader with the record and the rules computes the present with
`settle`, as the worker will at the tenant's next event. So no worker is needed to know the present.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from schemas.domain.claim import PIN, Cause, Claim, Claims
from schemas.domain.decision import Change, decide, depth_of, held_until
from schemas.domain.policy import Terms, breaker_name
from schemas.domain.record import Record
from schemas.domain.schedule import Ramp
from schemas.domain.state import SleepState

_FOREVER = float("inf")
_EXPIRED = Cause("expired", None)
_SLEEPING = (SleepState.light, SleepState.deep, SleepState.freeze)


def _earliest(record: Record) -> int | None:
    """Return the earliest end of any claim, or of the hold."""
    earliest = record.held_until
    for claim in record.claims.values():
        expires_at = claim.expires_at
        if expires_at is not None and (earliest is None or expires_at < earliest):
            earliest = expires_at
    return earliest


def settle(record: Record, terms: Terms, now: int) -> tuple[Record, list[Change]]:
    """Apply each expiration until `now` at its own deadline, under the terms last folded under."""
    changes: list[Change] = []
    while (due := _earliest(record)) is not None and due <= now:
        live: Claims = {}
        dropped: list[Claim] = []
        for key, claim in record.claims.items():
            if claim.expires_at is not None and claim.expires_at <= due:
                dropped.append(claim)
            else:
                live[key] = claim
        record, change = decide(replace(record, claims=live), terms, due, _ended(dropped, terms))
        if change is not None:
            changes.append(change)
    return record, changes


def _ended(dropped: list[Claim], terms: Terms) -> Cause:
    """Return the cause of a decision after these claims have expired."""
    if not dropped:
        return Cause("hold_ended", None)
    if any(claim.source == "pin" for claim in dropped):
        return Cause("pin_ended", PIN[1])
    deepest = min(dropped, key=lambda claim: (-depth_of(claim, terms), claim.source, claim.key))
    return Cause("expired", deepest.key)


def next_deadline(record: Record, terms: Terms) -> int | None:
    """Return the next time at which a pin, a claim deeper than active or the hold ends by itself."""
    earliest = record.held_until
    for claim in record.claims.values():
        expires_at = claim.expires_at
        if (
            expires_at is not None
            and (earliest is None or expires_at < earliest)
            and (claim.source == "pin" or depth_of(claim, terms) > SleepState.active)
        ):
            earliest = expires_at
    return earliest


def is_open_ended(record: Record, terms: Terms) -> bool:
    """Tell whether the tenant has a pin, or a claim deeper than active that does not expire."""
    return any(
        claim.source == "pin" or (claim.expires_at is None and depth_of(claim, terms) > SleepState.active)
        for claim in record.claims.values()
    )


def never_ending(record: Record, terms: Terms) -> Iterator[Claim]:
    """Yield each claim that asks for sleep and does not expire."""
    for claim in record.claims.values():
        if claim.expires_at is None and depth_of(claim, terms) > SleepState.active:
            yield claim


def retires_at(record: Record, terms: Terms) -> int | None:
    """Return when the record may be retired, None if it may not."""
    if record.decided is not SleepState.active or record.policy_version or PIN in record.claims:
        return None
    if any(depth_of(claim, terms) > SleepState.active for claim in record.claims.values()):
        return None
    return max(record.clock, record.since, record.ramp.ends_at) + terms.retire_after_ms


class Forecast(Struct, frozen=True, gc=False):
    """A change of `state` that will happen without further events."""

    at: int
    state: SleepState
    ramp: Ramp


def _asked_until(claims: Claims, terms: Terms) -> list[float]:
    """Return, for each depth, until when the claims except a pin ask for at least that depth; for ever for active.

    Let k be a breaker's quorum. The breaker is at depth D until the k-th latest end of its claims of at least depth D.
    A floor asks for ever, and no depth below the ceiling is asked for.
    """
    policy = terms.policy
    # For each depth the latest end of claims that count alone; for each name and depth the ends of a quorum's claims.
    until = [_FOREVER, -_FOREVER, -_FOREVER, -_FOREVER]
    by_name: dict[tuple[str, SleepState], list[float]] = {}
    for claim in claims.values():
        if claim.source == "pin":
            continue
        end = _FOREVER if claim.expires_at is None else claim.expires_at
        if claim.breaker_state is None:
            quorum, claim_depth = 1, claim.state or SleepState.active
        else:
            rule = policy.rule_of_claim(claim.key)
            quorum, claim_depth = rule.quorum, rule.means[claim.breaker_state]
        for depth in _SLEEPING[:claim_depth]:
            if quorum > 1:
                by_name.setdefault((breaker_name(claim.key), depth), []).append(end)
            elif end > until[depth]:
                until[depth] = end
    for (name, depth), ends in by_name.items():
        quorum = policy.rule_of(name).quorum
        if len(ends) >= quorum:
            until[depth] = max(until[depth], sorted(ends, reverse=True)[quorum - 1])
    for depth in _SLEEPING:
        if depth > terms.ceiling:
            until[depth] = -_FOREVER
        elif depth <= policy.floor:
            until[depth] = _FOREVER
    return until


def forecast(record: Record, terms: Terms) -> list[Forecast]:
    """Return the changes of `state` that `settle` will make, in order, from the ends of the claims alone."""
    if not terms.policy.enforce or (record.decided is SleepState.active and PIN not in record.claims):
        return []
    ends = _asked_until(record.claims, terms)
    # The causes below stay in here. Of a cause, a hold asks only whether it is in `NEVER_HELD_CAUSES`.

    def asked(at: float) -> SleepState:
        for depth in _SLEEPING[::-1]:
            if ends[depth] > at:
                return depth
        return SleepState.active

    changes: list[Forecast] = []
    at: float = record.clock
    pin = record.claims.get(PIN)
    if pin is not None:
        if pin.expires_at is None:
            return []
        at = pin.expires_at
        record = replace(record, claims={key: claim for key, claim in record.claims.items() if key != PIN})
        record = _forecast_step(record, terms, int(at), asked(at), Cause("pin_ended", PIN[1]), changes)
    while (at := _next_step(record, terms, ends)) != _FOREVER:
        record = _forecast_step(record, terms, int(at), asked(at), _EXPIRED, changes)
    return changes


def _next_step(record: Record, terms: Terms, ends: list[float]) -> float:
    """Return when the decision becomes shallower: when the claims no longer ask for it, or a hold ends."""
    at = ends[record.decided]
    if at == _FOREVER or not terms.policy.min_sleep_ms:
        return at
    until = held_until(record, SleepState.active, terms, int(max(at, record.clock)))
    return at if until is None else max(at, until)


def _forecast_step(
    record: Record, terms: Terms, at: int, target: SleepState, cause: Cause, changes: list[Forecast]
) -> Record:
    """Return the record after the decision `target` at `at`, and append the change of state, if any."""
    if held_until(record, target, terms, at) is not None or target is record.decided:
        return record
    length = terms.policy.deepen_ms if target > record.state else terms.policy.wake_ms
    ramp = Ramp(record.ramp.at(at), terms.schedule[target], at, at + length)
    changes.append(Forecast(at, target, ramp))
    return replace(record, decided=target, state=target, since=at, cause=cause, ramp=ramp, clock=at)
