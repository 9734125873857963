"""A tenant's record: the state of the fold, and its compact layout in Redis."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import astuple

from schemas.domain.claim import Cause, CauseKind, Claim, Claims, Source
from schemas.domain.policy import Policy, Rules, unpack_policy
from schemas.domain.schedule import ParameterSet, Ramp, Schedule
from schemas.domain.sealing import NewerReleaseError, named, pack_fields, unpack_fields
from schemas.domain.state import BY_DEPTH, BreakerState, SleepState

LAYOUT: Final = 1
"""Version of the layout that `pack` writes. A worker stops at a newer layout, and does not overwrite it."""

# These numbers are stored in Redis: a new member gets the next number, and no number ever changes. A release that does
# not know a number asks for an upgrade. So all workers can read a new member before any of them writes it.
SOURCE_CODES: Final[Mapping[Source, int]] = {"breaker": 0, "operation": 1, "mode": 2, "pin": 3}
CAUSE_CODES: Final[Mapping[CauseKind, int]] = {
    "breaker": 0,
    "operation": 1,
    "cancel": 2,
    "mode": 3,
    "pin": 4,
    "policy": 5,
    "rules": 6,
    "expired": 7,
    "pin_ended": 8,
    "hold_ended": 9,
}
BREAKER_STATE_CODES: Final[Mapping[BreakerState, int]] = {
    "closed": 0,
    "open": 1,
    "half_open": 2,
    "forced_open": 3,
    "disabled": 4,
    "metrics_only": 5,
}
_SOURCES_BY_CODE: Final = {code: source for source, code in SOURCE_CODES.items()}
_KINDS_BY_CODE: Final = {code: kind for kind, code in CAUSE_CODES.items()}
_BREAKER_STATES_BY_CODE: Final = {code: state for state, code in BREAKER_STATE_CODES.items()}


class Record(Struct, frozen=True, gc=False):
    """A tenant's state, as a value. Times in milliseconds of the log; `offset` is that of `position`.

    `at` and `offset` belong to the last event that changed what readers see, and `version` counts such events. `clock`
    is the latest time in the tenant's log. `rules_number` names the rules last folded under.
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
    """Return the record of a new tenant: awake, with the active parameter set."""
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
    """Return the sealed layout of a record. The sets of the schedule are stored as their index."""
    return pack_fields(
        LAYOUT,
        [
            record.state,
            record.decided,
            record.since,
            None if record.cause is None else [CAUSE_CODES[record.cause.kind], record.cause.key],
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
        NewerReleaseError: if a newer version wrote it.
        ValueError: if the bytes are damaged, or not such a record.
    """
    layout, fields = unpack_fields(packed, LAYOUT)
    try:
        return _READERS[layout](fields, rules)
    except NewerReleaseError:
        raise
    except (TypeError, LookupError, ValueError) as error:
        msg = f"not a tenant record of layout {layout}: {error}"
        raise ValueError(msg) from error


def _read_1(fields: list[Any], rules: list[Rules]) -> Record:
    (state, decided, since, cause, claims, ramp, policy, *rest) = fields
    policy_version, held_until, at, clock, offset, version, rules_number = rest
    if rules_number < 0:
        msg = "a negative index"
        raise ValueError(msg)
    own = None if policy is None else unpack_policy(policy)
    schedule = rules[rules_number].terms_for(own).schedule
    return Record(
        named("state", state, BY_DEPTH),
        named("state", decided, BY_DEPTH),
        since,
        None if cause is None else Cause(named("cause", cause[0], _KINDS_BY_CODE), cause[1]),
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
    source = SOURCE_CODES[claim.source]
    if claim.breaker_state is not None:
        meaning: int | None = BREAKER_STATE_CODES[claim.breaker_state]
        fields = [source, claim.key, meaning, claim.since, claim.expires_at, claim.occurred_at]
    else:
        fields = [source, claim.key, claim.state, claim.since, claim.expires_at]
    if claim.actor is not None or claim.reason is not None:
        fields += [claim.actor, claim.reason]
    return fields


def _unpack_claim(fields: list[Any]) -> Claim:
    source = named("claim source", fields[0], _SOURCES_BY_CODE)
    _, key, meaning, since, expires_at, *rest = fields
    if source == "breaker":
        occurred_at, *rest = rest
        state, breaker_state = None, named("breaker state", meaning, _BREAKER_STATES_BY_CODE)
    else:
        occurred_at, state, breaker_state = None, named("state", meaning, BY_DEPTH), None
    actor, reason = rest or (None, None)
    return Claim(source, key, state, breaker_state, occurred_at, since, expires_at, actor, reason)


def _pack_set(values: ParameterSet, schedule: Schedule) -> int | list[float]:
    return schedule.index(values) if values in schedule else list(astuple(values))


def _unpack_set(packed: int | list[float], schedule: Schedule) -> ParameterSet:
    return schedule[packed] if isinstance(packed, int) else ParameterSet(*packed)


# A later layout adds its reader here. Older readers stay for as long as their records may exist.
_READERS: Final[Mapping[int, Callable[[list[Any], list[Rules]], Record]]] = {1: _read_1}
