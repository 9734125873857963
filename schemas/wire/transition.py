"""The audit row on `sleep.transitions`."""

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from schemas.domain.claim import Cause
from schemas.domain.state import StateName
from schemas.wire.operation import RefusalCode

RowKind = Literal["transition", "outcome", "refusal"]
"""What a row of the audit says."""
_JSON: Final = msgspec.json.Encoder()


class Transition(Struct, frozen=True, gc=False, rename={"before": "from", "after": "to"}):
    """A row of the audit: a transition, an outcome or a refusal. Its fields are in the order of the document.

    `before` and `after` are values of `decided`; `at` is log time in milliseconds.
    """

    id: str
    kind: RowKind
    tenant: str
    cause: Cause | None
    event_id: str
    event_type: str
    operation_id: str | None
    actor: str | None
    reason: str | None
    code: RefusalCode | None
    decision: str | None
    decision_id: str | None
    enforced: bool
    at: int
    position: str
    rules: str
    before: StateName
    after: StateName

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    def encode(self) -> bytes:
        """Return the document form as JSON."""
        return _JSON.encode(self)
