"""What falls due by itself: settling the past, the next deadline, and the forecast.

A reader with the record and the rules knows the present without a living worker: `settle` is what the
worker itself will do when it next sees the tenant.
"""

from typing import Any, NamedTuple

from schemas.claim import PIN, Cause, Claim, Claims
from schemas.decision import Change, breaker_name, decide, depth_of, held_until
from schemas.policy import Terms
from schemas.record import Record
from schemas.schedule import Ramp
from schemas.state import LABELS, SleepState

_FOREVER = float("inf")
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
    """Let everything that fell due until `now` happen at its own time, under the terms last folded under."""
    changes: list[Change] = []
    while (due := _earliest(record)) is not None and due <= now:
        kept: Claims = {}
        dropped: list[Claim] = []
        for key, claim in record.claims.items():
            if claim.expires_at is not None and claim.expires_at <= due:
                dropped.append(claim)
            else:
                kept[key] = claim
        record, change = decide(record._replace(claims=kept), terms, due, _ended(dropped, terms))
        if change is not None:
            changes.append(change)
    return record, changes


def _ended(dropped: list[Claim], terms: Terms) -> Cause:
    """Name the cause of a decision that these claims' end made."""
    if not dropped:
        return Cause("hold_ended", None)
    if any(claim.source == "pin" for claim in dropped):
        return Cause("pin_ended", PIN[1])
    deepest = min(dropped, key=lambda claim: (-depth_of(claim, terms), claim.source, claim.key))
    return Cause("expired", deepest.key)


def next_deadline(record: Record, terms: Terms) -> int | None:
    """Return when, with no further event, a pin or a claim deeper than active ends, or the hold does."""
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
    """Tell whether a pin, or a claim deeper than active with no end of its own, keeps the tenant."""
    return any(
        claim.source == "pin" or (claim.expires_at is None and depth_of(claim, terms) > SleepState.active)
        for claim in record.claims.values()
    )


def retires_at(record: Record, terms: Terms) -> int | None:
    """Return when the record may go, or None where something keeps it."""
    if record.decided is not SleepState.active or record.policy_version or PIN in record.claims:
        return None
    if any(depth_of(claim, terms) > SleepState.active for claim in record.claims.values()):
        return None
    return max(record.clock, record.since, record.ramp.ends_at) + terms.retire_after_ms


class Forecast(NamedTuple):
    """A change of `state` that will happen if nothing else arrives."""

    at: int
    state: SleepState
    ramp: Ramp

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        return {"at": self.at, "state": LABELS[self.state], "parameters": self.ramp.as_json()}


def _asked_until(claims: Claims, terms: Terms) -> dict[SleepState, float]:
    """Return, for each sleeping depth, until when the claims (a pin aside) ask for at least that depth.

    A breaker's name is at depth D until the k-th latest end among its claims of depth at least D, k being
    its quorum; a floor asks for ever, and nothing is asked beyond a ceiling.
    """
    policy = terms.policy
    # For each depth, the latest end among claims that count alone, and the ends to count for each name.
    alone = dict.fromkeys(_SLEEPING, -_FOREVER)
    by_name: dict[tuple[str, SleepState], list[float]] = {}
    for claim in claims.values():
        if claim.source == "pin":
            continue
        end = _FOREVER if claim.expires_at is None else claim.expires_at
        name = breaker_name(claim.key) if claim.source == "breaker" else None
        meant = depth_of(claim, terms)
        for depth in _SLEEPING[:meant]:
            if name is not None and policy.rule_of(name).quorum > 1:
                by_name.setdefault((name, depth), []).append(end)
            elif end > alone[depth]:
                alone[depth] = end
    for (name, depth), found in by_name.items():
        quorum = policy.rule_of(name).quorum
        if len(found) >= quorum:
            alone[depth] = max(alone[depth], sorted(found, reverse=True)[quorum - 1])
    for depth in _SLEEPING:
        if depth > terms.ceiling:
            alone[depth] = -_FOREVER
        elif depth <= policy.floor:
            alone[depth] = _FOREVER
    return alone


def forecast(record: Record, terms: Terms) -> list[Forecast]:
    """Return the changes of `state` that settling will record, in order, from the ends of the claims alone."""
    if not terms.policy.enforce:
        return []
    ends = _asked_until(record.claims, terms)

    def asked(at: float) -> SleepState:
        return max((depth for depth, end in ends.items() if end > at), default=SleepState.active)

    found: list[Forecast] = []
    at: float = record.clock
    pin = record.claims.get(PIN)
    if pin is not None:
        if pin.expires_at is None:
            return []
        at = pin.expires_at
        record = record._replace(claims={key: claim for key, claim in record.claims.items() if key != PIN})
        record = _forecast_step(record, terms, int(at), asked(at), Cause("pin_ended", PIN[1]), found)
    while (at := _next_step(record, terms, ends)) != _FOREVER:
        record = _forecast_step(record, terms, int(at), asked(at), Cause("expired", None), found)
    return found


def _next_step(record: Record, terms: Terms, ends: dict[SleepState, float]) -> float:
    """Return when the decision gets shallower: when the claims stop asking for it, or when a hold ends."""
    at = ends.get(record.decided, _FOREVER)
    if at == _FOREVER:
        return at
    until = held_until(record, SleepState.active, terms, int(max(at, record.clock)))
    return at if until is None else max(at, until)


def _forecast_step(
    record: Record, terms: Terms, at: int, target: SleepState, cause: Cause, found: list[Forecast]
) -> Record:
    """Return the record after the decision `target` at `at`, noting the change of state if it is one."""
    if held_until(record, target, terms, at) is not None or target is record.decided:
        return record
    length = terms.policy.deepen_ms if target > record.state else terms.policy.wake_ms
    ramp = Ramp(record.ramp.at(at), terms.schedule[target], at, at + length)
    found.append(Forecast(at, target, ramp))
    return record._replace(decided=target, state=target, since=at, cause=cause, ramp=ramp, clock=at)
