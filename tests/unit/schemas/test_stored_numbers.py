"""Numbers that stand for names in Redis. A name that moved within its list would change what was stored before."""

from typing import get_args

from schemas.domain.state import SleepState
from schemas.redis.command_memory import pack
from schemas.wire.events import CommandEvent
from schemas.wire.operation import COMMAND_TYPES, CommandType, OperationRecord, RefusalCode

TYPES: dict[CommandType, int] = {"operation": 0, "cancel": 1, "mode": 2, "policy": 3}
CODES: dict[RefusalCode | None, int] = {
    None: 0,
    "duplicate_operation": 1,
    "idempotency_conflict": 2,
    "too_late": 3,
    "ttl_out_of_range": 4,
    "too_many_operations": 5,
    "not_running": 6,
    "version_conflict": 7,
    "invalid_policy": 8,
    "clock_skew": 9,
    "stale_event": 10,
    "too_many_claims": 11,
}
_TYPE_AT, _CODE_AT = 9, 11


def packed(type_: CommandType = "operation", code: RefusalCode | None = None) -> bytes:
    """Return the bytes of an ended command."""
    active = SleepState.active
    command = OperationRecord(
        operation_id="op-1", tenant_id="acme", type=type_, refused=code is not None, cancelled_at=None,
        target_state=None, created_at=1, expires_at=None, code=code, detail=None, state=active, previous_state=active,
        position="0:1", actor=None, reason=None, trace_id=None, decision="00" * 16,
    )  # fmt: skip
    return pack(command, live=False)


def test_each_type_of_command_has_its_number() -> None:
    """A new type gets the next number."""
    assert {type_: packed(type_)[_TYPE_AT] for type_ in get_args(CommandType)} == TYPES


def test_each_refusal_code_has_its_number() -> None:
    """A new code gets the next number: it is appended to `RefusalCode`."""
    assert {code: packed(code=code)[_CODE_AT] for code in (None, *get_args(RefusalCode))} == CODES


def test_every_type_of_command_has_a_short_name() -> None:
    """Each name is that of one event."""
    types = [get_args(model.model_fields["type"].annotation) for model in get_args(CommandEvent)]
    assert {type_ for (type_,) in types} == COMMAND_TYPES.keys()
    assert sorted(COMMAND_TYPES.values()) == sorted(get_args(CommandType))
