"""The audit row on `sleep.transitions`."""

from typing import Any, Literal, NamedTuple

from schemas.claim import Cause
from schemas.operation import RefusalCode
from schemas.state import LABELS, SleepState


class Transition(NamedTuple):
    """A transition, a refusal or a command's outcome; `before` and `after` are `decided`, `at` is log time, ms."""

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
