"""The audit row on `sleep.transitions`."""

from typing import Any, Literal, NamedTuple

from schemas.domain.claim import Cause
from schemas.domain.state import LABELS, SleepState
from schemas.wire.operation import RefusalCode


class Transition(NamedTuple):
    """A row of the audit: a transition, an outcome or a refusal.

    `before` and `after` are values of `decided`; `at` is log time in milliseconds.
    """

    id: str
    kind: Literal["transition", "outcome", "refusal"]
    tenant: str
    before: SleepState
    after: SleepState
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

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        document = self._asdict()
        document["from"] = LABELS[document.pop("before")]
        document["to"] = LABELS[document.pop("after")]
        document["cause"] = None if self.cause is None else self.cause.as_json()
        return document
