"""Receipts: the API stores one for a command that it answers with 202, so that a GET after the answer finds it."""

from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from schemas.domain.sealing import NewerLayoutError
from schemas.domain.state import StateName
from schemas.wire.operation import CommandType

LAYOUT: Final = 1
"""Version of the layout that `pack` writes."""


class Receipt(NamedTuple):
    """A command in flight; `created_at` is in milliseconds, `position` is known after the acknowledgement."""

    operation_id: str
    tenant_id: str
    type: CommandType
    target_state: StateName | None
    created_at: int
    actor: str
    reason: str | None
    trace_id: str | None
    position: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the operation's document until its outcome is known."""
        return {
            "operation_id": self.operation_id,
            "tenant_id": self.tenant_id,
            "type": self.type,
            "status": "accepted",
            "target_state": self.target_state,
            "created_at": self.created_at,
            "expires_at": None,
            "finished_at": None,
            "code": "outcome_unknown" if self.position is None else None,
            "state": None,
            "previous_state": None,
            "position": self.position,
            "actor": self.actor,
            "reason": self.reason,
            "trace_id": self.trace_id,
        }

    def pack(self) -> bytes:
        """Return the bytes for Redis."""
        return to_json([LAYOUT, *self])

    @classmethod
    def unpack(cls, packed: bytes) -> "Receipt":
        """Return the receipt that `pack` wrote.

        Raises:
            NewerLayoutError: if a newer version wrote it.
            ValueError: if the bytes are not such a receipt.
        """
        fields: Any = from_json(packed)
        if isinstance(fields, list) and fields and type(fields[0]) is int and fields[0] > LAYOUT:
            raise NewerLayoutError(fields[0], LAYOUT)
        if not isinstance(fields, list) or len(fields) != len(cls._fields) + 1 or fields[0] != LAYOUT:
            msg = "not a receipt of layout 1"
            raise ValueError(msg)
        return cls(*fields[1:])
