"""A tenant's record: the state of the fold, and its compact layout in Redis."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import Struct
from msgspec.structs import astuple

from schemas.domain.claim import Cause, CauseKind, Claim, Claims, Source
from schemas.domain.policy import Policy, Rules, unpack_policy
from schemas.domain.schedule import ParameterSet, Ramp, Schedule
from schemas.domain.sealing import NewerReleaseError, named, pack_fields, unpack_fields
from schemas.domain.state import BY_DEPTH, BreakerState, SleepState

LAYOUT: Final = 2
"""Version of the layout that `pack` writes. A worker stops at a newer layout, and does not overwrite it.

Layout 1 had all fields, and absolute times. Layout 2 takes a third of its bytes:
see docs/decisions/0032-structs-and-layout-2.md.
"""

_FIRST_CLAIM: Final = 0  # As a cause: the claim with this index.
_AT_ONCE: Final = 0  # In place of a ramp: see `_at_once`.
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
Item = TypeVar("Item")
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
    """Return the sealed layout of a record, as short as the record is usual.

    Times are relative to the record's clock. The sets of the schedule are stored as their index. What has its usual
    value is left out at the end of the record, and of each claim.
    """
    clock, cause, policy = record.clock, record.cause, record.policy
    named_by_claim = None if cause is None else _index(record.claims, (cause.kind, cause.key))
    fields = [
        clock,
        record.offset,
        record.version,
        record.rules_number,
        record.state,
        [_pack_claim(claim, clock) for claim in record.claims.values()],
        [CAUSE_CODES[cause.kind], cause.key] if cause is not None and named_by_claim is None else named_by_claim,
        record.since - clock,
        record.at - clock,
        _pack_ramp(record, schedule),
        record.decided,
        _relative(record.held_until, clock),
        record.policy_version,
        None if policy is None else policy.packed,
    ]
    usual = _usual(record.state)
    while usual and fields[-1] == usual.pop():
        del fields[-1]
    return pack_fields(LAYOUT, fields)


def _usual(state: int) -> list[Any]:
    """Return the usual values of the last fields, from the cause on: a tenant in this state because of its claim."""
    return [_FIRST_CLAIM, 0, 0, _AT_ONCE, state, None, 0, None]


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


def _read_2(fields: list[Any], rules: list[Rules]) -> Record:
    clock, offset, version, rules_number, state_code, packed_claims, *rest = fields
    cause, since, at, ramp, decided, held_until, policy_version, policy = [*rest, *_usual(state_code)[len(rest) :]]
    own = None if policy is None else unpack_policy(policy)
    schedule = _item(rules, rules_number).terms_for(own).schedule
    state = named("state", state_code, BY_DEPTH)
    claims = [_unpack_claim(clock, *claim) for claim in packed_claims]
    return Record(
        state=state,
        decided=named("state", decided, BY_DEPTH),
        since=clock + since,
        cause=_unpack_cause(cause, claims),
        claims={(claim.source, claim.key): claim for claim in claims},
        ramp=_at_once(state, schedule, clock + since) if ramp == _AT_ONCE else _unpack_ramp(ramp, schedule, clock),
        policy=own,
        policy_version=policy_version,
        held_until=_absolute(held_until, clock),
        at=clock + at,
        clock=clock,
        offset=offset,
        version=version,
        rules_number=rules_number,
    )


def _read_1(fields: list[Any], rules: list[Rules]) -> Record:
    """Read the first layout, in which each record had all fields, and times were absolute."""
    (state, decided, since, cause, claims, ramp, policy, *rest) = fields
    policy_version, held_until, at, clock, offset, version, rules_number = rest
    own = None if policy is None else unpack_policy(policy)
    unpacked = [_unpack_claim(0, *_with_time(claim)) for claim in claims]
    return Record(
        named("state", state, BY_DEPTH),
        named("state", decided, BY_DEPTH),
        since,
        _unpack_cause(cause, unpacked),
        {(claim.source, claim.key): claim for claim in unpacked},
        _unpack_ramp(ramp, _item(rules, rules_number).terms_for(own).schedule, 0),
        own,
        policy_version,
        held_until,
        at,
        clock,
        offset,
        version,
        rules_number,
    )


def _with_time(claim: list[Any]) -> list[Any]:
    """Return a claim of layout 1 with `occurred_at`, which only a breaker's had."""
    return claim if claim[0] == SOURCE_CODES["breaker"] else [*claim[:5], None, *claim[5:]]


def _relative(time: int | None, clock: int) -> int | None:
    return None if time is None else time - clock


def _absolute(time: int | None, clock: int) -> int | None:
    return None if time is None else time + clock


def _index(claims: Claims, name: tuple[str, str | None]) -> int | None:
    """Return the place of a claim, None if there is no such claim."""
    if name not in claims:
        return None
    return next(index for index, key in enumerate(claims) if key == name)


def _item(items: Sequence[Item], index: int) -> Item:
    """Return an item by its index.

    Raises:
        IndexError: if there is none; a negative index has none.
    """
    if index < 0:
        msg = "a negative index"
        raise IndexError(msg)
    return items[index]


def _pack_claim(claim: Claim, clock: int) -> list[Any]:
    fields = [
        SOURCE_CODES[claim.source],
        claim.key,
        claim.state if claim.breaker_state is None else BREAKER_STATE_CODES[claim.breaker_state],
        claim.since - clock,
        _relative(claim.expires_at, clock),
        _relative(claim.occurred_at, clock),
        claim.actor,
        claim.reason,
    ]
    while fields[-1] is None:
        fields.pop()
    return fields


def _unpack_claim(  # noqa: PLR0913, PLR0917 - the fields of a claim, in their order
    clock: int,
    code: int,
    key: str,
    meaning: int,
    since: int,
    expires_at: int | None = None,
    occurred_at: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Claim:
    """Return a claim, with times relative to `clock`; the last fields may be absent."""
    source = named("claim source", code, _SOURCES_BY_CODE)
    if source == "breaker":
        state, breaker_state = None, named("breaker state", meaning, _BREAKER_STATES_BY_CODE)
    else:
        state, breaker_state = named("state", meaning, BY_DEPTH), None
    occurred_at, expires_at = _absolute(occurred_at, clock), _absolute(expires_at, clock)
    return Claim(source, key, state, breaker_state, occurred_at, clock + since, expires_at, actor, reason)


def _unpack_cause(packed: int | list[Any] | None, claims: list[Claim]) -> Cause | None:
    """Return a cause: the claim with this index, or a code and a key."""
    if isinstance(packed, int):
        claim = _item(claims, packed)
        return Cause(claim.source, claim.key)
    return None if packed is None else Cause(named("cause", packed[0], _KINDS_BY_CODE), packed[1])


def _pack_ramp(record: Record, schedule: Schedule) -> int | list[Any]:
    ramp, clock, since = record.ramp, record.clock, record.since
    if ramp.ends_at == since == ramp.starts_at and ramp == _at_once(record.state, schedule, since):
        return _AT_ONCE
    starts_at, ends_at = ramp.starts_at - clock, ramp.ends_at - clock
    return [_pack_set(ramp.start, schedule), _pack_set(ramp.target, schedule), starts_at, ends_at]


def _unpack_ramp(packed: list[Any], schedule: Schedule, clock: int) -> Ramp:
    """Return a ramp, with times relative to `clock`."""
    start, target, starts_at, ends_at = packed
    return Ramp(_unpack_set(start, schedule), _unpack_set(target, schedule), clock + starts_at, clock + ends_at)


def _at_once(state: SleepState, schedule: Schedule, since: int) -> Ramp:
    """Return the ramp of a tenant that was awake, and is in this state without a delay."""
    return Ramp(schedule[SleepState.active], schedule[state], since, since)


def _pack_set(values: ParameterSet, schedule: Schedule) -> int | list[float]:
    return schedule.index(values) if values in schedule else list(astuple(values))


def _unpack_set(packed: int | list[float], schedule: Schedule) -> ParameterSet:
    return schedule[packed] if isinstance(packed, int) else ParameterSet(*packed)


# A later layout adds its reader here. Older readers stay for as long as their records may exist.
_READERS: Final[Mapping[int, Callable[[list[Any], list[Rules]], Record]]] = {1: _read_1, 2: _read_2}
