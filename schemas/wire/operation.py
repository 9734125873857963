"""Operations: the record of a command, its document, and the comparison with a repeat."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

from pydantic_core import to_json

from schemas.domain.claim import Claims
from schemas.domain.policy import InvalidDocumentError, parse_policy
from schemas.domain.sealing import named, pack_fields, unpack_fields
from schemas.domain.state import BY_DEPTH, LABELS, SleepState
from schemas.wire.events import (
    CANCEL,
    MODE,
    OPERATION,
    POLICY,
    Cancel,
    CommandData,
    CommandEvent,
    Mode,
    Operation,
    PolicyChange,
)

CommandType = Literal["operation", "cancel", "mode", "policy"]
Status = Literal["accepted", "running", "completed", "cancelled", "refused"]
# A code is stored by its place in this list (`schemas.redis.command_memory`): append new ones, and move none.
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
COMMAND_TYPES: Final[Mapping[str, CommandType]] = {
    OPERATION: "operation",
    CANCEL: "cancel",
    MODE: "mode",
    POLICY: "policy",
}
"""The short name of each type of command by the type of its event."""
LAYOUT: Final = 1
"""Version of the layout that `pack` writes. A worker stops at a newer one."""
REMEMBERED_MS: Final = 3_600_000
"""How long a command's id is known after its end, by the time of its tenant, in milliseconds of the log."""
FORGOTTEN_MS: Final = 7_200_000
"""When a command is deleted from Redis after its end, by the highest timestamp of its partition, in ms of the log.

It is an hour more than the tenant's own time, so that timestamps may go back by an hour.
"""


class OperationRecord(NamedTuple):
    """The record of a command. `finished_at` is its end; for a running operation it is `expires_at`.

    No event completes an operation at its TTL: after `expires_at` a reader sees it as completed. A command that has
    ended is stored without `actor`, `reason`, `trace_id` and `detail`: see `schemas.redis.command_memory`.
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
    actor: str | None
    reason: str | None
    trace_id: str | None
    decision: str

    @property
    def offset(self) -> int:
        """The offset of the command in the log of its partition."""
        return int(self.position.partition(":")[2])

    @property
    def finished_at(self) -> int:
        """The past or future end of the command, in milliseconds of the log."""
        if self.cancelled_at is not None:
            return self.cancelled_at
        if self.type == "operation" and self.expires_at is not None and not self.refused:
            return self.expires_at
        return self.created_at

    def lives_in(self, claims: Claims) -> bool:
        """Tell whether it is an operation with a live claim of its tenant."""
        ended = self.refused or self.cancelled_at is not None
        return self.type == "operation" and not ended and ("operation", self.operation_id) in claims

    def is_forgotten(self, highest: int) -> bool:
        """Tell whether the partition has forgotten it; `highest` is the partition's highest timestamp so far, ms."""
        return self.finished_at <= forgotten_until(highest)

    def is_known(self, now: int, highest: int) -> bool:
        """Tell whether a repeat is compared with it, at the tenant's `now` and the partition's highest timestamp."""
        return now < self.finished_at + REMEMBERED_MS and not self.is_forgotten(highest)

    def without_texts(self) -> "OperationRecord":
        """Return the record after its end."""
        return self._replace(actor=None, reason=None, trace_id=None, detail=None)

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
        """Return the layout for Redis: the fields in order, sealed."""
        return pack_fields(LAYOUT, [*self])

    @classmethod
    def unpack(cls, packed: bytes) -> "OperationRecord":
        """Return the record that `pack` wrote.

        Raises:
            NewerReleaseError: if a newer version wrote it.
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
        target_state=None if record.target_state is None else named("state", record.target_state, BY_DEPTH),
        state=named("state", record.state, BY_DEPTH),
        previous_state=named("state", record.previous_state, BY_DEPTH),
    )


_READERS: Final[Mapping[int, Callable[[list[Any]], OperationRecord]]] = {1: _read_1}


def forgotten_until(highest: int) -> int:
    """Return the latest end of forgotten commands; `highest` is the highest timestamp of their partition, ms."""
    return highest - FORGOTTEN_MS


def type_of(event: CommandEvent) -> CommandType:
    """Return the short name of a command's type, `sleep.<name>.v1`."""
    return COMMAND_TYPES[event.type]


def decision_digest(event: CommandEvent) -> str:
    """Return the digest that a repeat of an id must have: of the type and the requested decision."""
    return digest_of(event.type, event.data)


def digest_of(type_: str, data: CommandData) -> str:
    """Return the digest of a command by the type of its event and its data; see `decision_digest`."""
    compared: list[Any] = [type_]
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
    """Return a valid policy with all defaults, and an invalid one as it was sent."""
    if policy is None:
        return None
    try:
        return _by_value(parse_policy(policy).document)
    except InvalidDocumentError:
        return _by_value(policy)


def _by_value(value: object) -> object:
    """Return JSON with sorted keys, and with equal numbers spelled alike."""
    if isinstance(value, dict):
        return {key: _by_value(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_by_value(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
