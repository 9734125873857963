"""Receipts: what the API notes of a command before it publishes it, so that a GET after a 202 finds it."""

from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from schemas.operation import CommandType
from schemas.state import StateName


class Receipt(NamedTuple):
    """A command on its way; `created_at` in the API's milliseconds, `position` known once it is acked."""

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
        """Return the operation's document while the log has not answered."""
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
        """Return what Redis holds."""
        return to_json([1, *self])

    @classmethod
    def unpack(cls, packed: bytes) -> "Receipt":
        """Return what `pack` wrote.

        Raises:
            ValueError: if the bytes are not such a receipt.
        """
        fields: Any = from_json(packed)
        if not isinstance(fields, list) or len(fields) != len(cls._fields) + 1 or fields[0] != 1:
            msg = "not a receipt of layout 1"
            raise ValueError(msg)
        return cls(*fields[1:])
