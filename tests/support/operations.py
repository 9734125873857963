"""Builders of operations: what came of a command, as the API reads it."""

from typing import cast

from schemas.domain.state import SleepState
from schemas.wire.events import EVENTS, CommandEvent
from schemas.wire.operation import OperationRecord, decision_digest
from tests.support.times import NOW

DECISION = "0" * 32


def outcome(**changes: object) -> OperationRecord:
    """An operation that runs since `NOW`, for a minute."""
    record = OperationRecord(
        operation_id="op-1",
        tenant_id="acme",
        type="operation",
        refused=False,
        cancelled_at=None,
        target_state=SleepState.deep,
        created_at=NOW,
        expires_at=NOW + 60_000,
        code=None,
        detail=None,
        state=SleepState.deep,
        previous_state=SleepState.active,
        position="3:7",
        actor="ops@acme",
        reason=None,
        trace_id=None,
        decision=DECISION,
    )
    return OperationRecord._make((record._asdict() | changes).values())


def decision_of(type_: str, **data: object) -> str:
    """The digest of a command's decision, as the log keeps it."""
    event = EVENTS.validate_python(
        {
            "specversion": "1.0",
            "id": "1",
            "source": "test",
            "type": type_,
            "subject": "acme",
            "data": {"operation_id": "1", "actor": "a", **data},
        }
    )
    return decision_digest(cast("CommandEvent", event))
