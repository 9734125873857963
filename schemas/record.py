"""A tenant's record: what the fold keeps of it, and the compact layout in which Redis holds it."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, get_args

from schemas.claim import Cause, CauseKind, Claim, Claims, Source
from schemas.layout import pack_fields, unpack_fields
from schemas.policy import Policy, Rules, unpack_policy
from schemas.schedule import ParameterSet, Ramp, Schedule
from schemas.state import BreakerState, SleepState

LAYOUT: Final = 1
"""Version of the layout that `pack` writes; a worker stops at a newer one rather than damage it."""

# The order is the layout: append, never reorder.
_SOURCES: Final[tuple[Source, ...]] = ("breaker", "operation", "mode", "pin")
_CAUSES: Final[tuple[CauseKind, ...]] = get_args(CauseKind)
_BREAKER_STATES: Final[tuple[BreakerState, ...]] = get_args(BreakerState)
_STATES: Final = tuple(SleepState)


class Record(NamedTuple):
    """A tenant's state, as a value. Times in milliseconds of the log; `offset` is that of `position`.

    `at` and `offset` belong to the last event that changed anything shown to a reader, `version` counts
    such events, `clock` is the latest time seen, and `rules_number` names the rules last folded under.
    """

    state: SleepState
    decided: SleepState
    since: int
    cause: Cause | None
    claims: Claims
    ramp: Ramp
    policy: Policy | None
    policy_version: int
    held_until: int | None
    at: int
    clock: int
    offset: int
    version: int
    rules_number: int


def new_record(rules: Rules, now: int) -> Record:
    """Return the record of a tenant that was never seen: awake, with the active parameter set."""
    active = rules.terms.schedule[SleepState.active]
    return Record(
        state=SleepState.active,
        decided=SleepState.active,
        since=now,
        cause=None,
        claims={},
        ramp=Ramp(active, active, now, now),
        policy=None,
        policy_version=0,
        held_until=None,
        at=now,
        clock=now,
        offset=-1,
        version=0,
        rules_number=rules.number,
    )


def pack(record: Record, schedule: Schedule) -> bytes:
    """Return the layout of a record, sealed, in which a schedule's own sets stand as their index."""
    return pack_fields(
        LAYOUT,
        [
            record.state,
            record.decided,
            record.since,
            None if record.cause is None else [_CAUSES.index(record.cause.kind), record.cause.key],
            [_pack_claim(claim) for claim in record.claims.values()],
            [
                _pack_set(record.ramp.start, schedule),
                _pack_set(record.ramp.target, schedule),
                record.ramp.starts_at,
                record.ramp.ends_at,
            ],
            None if record.policy is None else record.policy.packed,
            record.policy_version,
            record.held_until,
            record.at,
            record.clock,
            record.offset,
            record.version,
            record.rules_number,
        ],
    )


def unpack(packed: bytes, rules: list[Rules]) -> Record:
    """Return the record that `pack` wrote under one of the numbered rules.

    Raises:
        NewerLayoutError: if a newer version wrote it.
        ValueError: if the bytes are damaged, or not such a record.
    """
    layout, fields = unpack_fields(packed, LAYOUT)
    try:
        return _READERS[layout](fields, rules)
    except (TypeError, IndexError, ValueError) as error:
        msg = f"not a tenant record of layout {layout}: {error}"
        raise ValueError(msg) from error


def _read_1(fields: list[Any], rules: list[Rules]) -> Record:
    (state, decided, since, cause, claims, ramp, policy, *rest) = fields
    policy_version, held_until, at, clock, offset, version, rules_number = rest
    if min(state, decided, rules_number) < 0:
        msg = "a negative index"
        raise ValueError(msg)
    own = None if policy is None else unpack_policy(policy)
    schedule = rules[rules_number].terms_for(own).schedule
    return Record(
        _STATES[state],
        _STATES[decided],
        since,
        None if cause is None else Cause(_CAUSES[cause[0]], cause[1]),
        {(claim.source, claim.key): claim for claim in map(_unpack_claim, claims)},
        Ramp(_unpack_set(ramp[0], schedule), _unpack_set(ramp[1], schedule), ramp[2], ramp[3]),
        own,
        policy_version,
        held_until,
        at,
        clock,
        offset,
        version,
        rules_number,
    )


def _pack_claim(claim: Claim) -> list[Any]:
    source = _SOURCES.index(claim.source)
    if claim.breaker_state is not None:
        meaning: int | None = _BREAKER_STATES.index(claim.breaker_state)
        fields = [source, claim.key, meaning, claim.since, claim.expires_at, claim.occurred_at]
    else:
        fields = [source, claim.key, claim.state, claim.since, claim.expires_at]
    if claim.actor is not None or claim.reason is not None:
        fields += [claim.actor, claim.reason]
    return fields


def _unpack_claim(fields: list[Any]) -> Claim:
    source = _SOURCES[fields[0]]
    _, key, meaning, since, expires_at, *rest = fields
    if source == "breaker":
        occurred_at, *rest = rest
        state, breaker_state = None, _BREAKER_STATES[meaning]
    else:
        occurred_at, state, breaker_state = None, _STATES[meaning], None
    actor, reason = rest or (None, None)
    return Claim(source, key, state, breaker_state, occurred_at, since, expires_at, actor, reason)


def _pack_set(values: ParameterSet, schedule: Schedule) -> int | list[float]:
    return schedule.index(values) if values in schedule else list(values)


def _unpack_set(packed: int | list[float], schedule: Schedule) -> ParameterSet:
    return schedule[packed] if isinstance(packed, int) else ParameterSet(*packed)


# A later layout adds its reader here; the older ones stay for as long as a record of theirs may be met.
_READERS: Final[Mapping[int, Callable[[list[Any], list[Rules]], Record]]] = {1: _read_1}
