"""Operations: what is remembered of a command, how it is shown, and when a repeat is the same."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import to_json

from schemas.events import Cancel, CommandEvent, Mode, Operation, PolicyChange
from schemas.layout import pack_fields, unpack_fields
from schemas.policy import InvalidDocumentError, parse_policy
from schemas.state import LABELS, SleepState

CommandType = Literal["operation", "cancel", "mode", "policy"]
Status = Literal["accepted", "running", "completed", "cancelled", "refused"]
RefusalCode = Literal[
    "duplicate_operation",
    "idempotency_conflict",
    "too_late",
    "ttl_out_of_range",
    "too_many_operations",
    "not_running",
    "version_conflict",
    "invalid_policy",
    "clock_skew",
    "stale_event",
    "too_many_claims",
]
LAYOUT: Final = 1
"""Version of the layout that `pack` writes; a worker stops at a newer one."""
REMEMBERED_MS: Final = 3_600_000
"""How long after it finished a command's id is known, in milliseconds of the log."""


class OperationRecord(NamedTuple):
    """What is remembered of a command. `finished_at` is its end; a running operation's is its `expires_at`.

    Its completion by TTL is not written: whoever reads it after `expires_at` sees it completed.
    """

    operation_id: str
    tenant_id: str
    type: CommandType
    refused: bool
    cancelled_at: int | None
    target_state: SleepState | None
    created_at: int
    expires_at: int | None
    code: RefusalCode | None
    detail: str | None
    state: SleepState
    previous_state: SleepState
    position: str
    actor: str
    reason: str | None
    trace_id: str | None
    decision: str

    @property
    def offset(self) -> int:
        """Where in its partition's log the command is."""
        return int(self.position.partition(":")[2])

    @property
    def finished_at(self) -> int:
        """When the command is, or will be, over; in milliseconds of the log."""
        if self.cancelled_at is not None:
            return self.cancelled_at
        if self.type == "operation" and self.expires_at is not None and not self.refused:
            return self.expires_at
        return self.created_at

    def status(self, now: int) -> Status:
        """Return the status at `now`."""
        if self.refused:
            return "refused"
        if self.cancelled_at is not None:
            return "cancelled"
        return "running" if self.type == "operation" and now < self.finished_at else "completed"

    def as_json(self, now: int) -> dict[str, Any]:
        """Return the public document at `now`, in milliseconds."""
        status = self.status(now)
        return {
            "operation_id": self.operation_id,
            "tenant_id": self.tenant_id,
            "type": self.type,
            "status": status,
            "target_state": None if self.target_state is None else LABELS[self.target_state],
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "finished_at": None if status == "running" else self.finished_at,
            "code": self.code,
            "state": LABELS[self.state],
            "previous_state": LABELS[self.previous_state],
            "position": self.position,
            "actor": self.actor,
            "reason": self.reason,
            "trace_id": self.trace_id,
        }

    def pack(self) -> bytes:
        """Return the layout in which Redis holds it: the fields in their order, sealed."""
        return pack_fields(LAYOUT, [*self])

    @classmethod
    def unpack(cls, packed: bytes) -> "OperationRecord":
        """Return what `pack` wrote.

        Raises:
            NewerLayoutError: if a newer version wrote it.
            ValueError: if the bytes are damaged, or not such a record.
        """
        layout, fields = unpack_fields(packed, LAYOUT)
        return _READERS[layout](fields)


def _read_1(fields: list[Any]) -> OperationRecord:
    if len(fields) != len(OperationRecord._fields):
        msg = "not an operation record of layout 1"
        raise ValueError(msg)
    record = OperationRecord(*fields)
    return record._replace(
        target_state=None if record.target_state is None else SleepState(record.target_state),
        state=SleepState(record.state),
        previous_state=SleepState(record.previous_state),
    )


_READERS: Final[Mapping[int, Callable[[list[Any]], OperationRecord]]] = {1: _read_1}


def type_of(event: CommandEvent) -> CommandType:
    """Return the short name of a command's type, `sleep.<name>.v1`."""
    kind: dict[str, CommandType] = {
        "sleep.operation.v1": "operation",
        "sleep.cancel.v1": "cancel",
        "sleep.mode.v1": "mode",
        "sleep.policy.v1": "policy",
    }
    return kind[event.type]


def decision_digest(event: CommandEvent) -> str:
    """Return a digest of what is compared when an id comes again: the type and the decision asked for."""
    data = event.data
    compared: list[Any] = [event.type]
    match data:
        case Operation():
            compared += [data.target, data.ttl_ms]
        case Mode():
            compared += [data.target, data.ttl_ms, data.override]
        case Cancel():
            compared += [data.cancels]
        case PolicyChange():
            compared += [_filled_or_as_sent(data.policy), data.if_version]
    return sha256(to_json(compared)).hexdigest()[:32]


def _filled_or_as_sent(policy: dict[str, Any] | None) -> object:
    """Return a valid policy filled, and any other as it was sent; numbers by value, keys in order."""
    if policy is None:
        return None
    try:
        return _by_value(parse_policy(policy).document)
    except InvalidDocumentError:
        return _by_value(policy)


def _by_value(value: object) -> object:
    """Return JSON in which equal numbers are spelled alike and keys are sorted; no deeper than what was sent."""
    if isinstance(value, dict):
        return {key: _by_value(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_by_value(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
