"""Changes of a tenant in the terms in which two scenarios are compared. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from schemas.domain.decision import Change
from schemas.domain.state import LABELS, StateName
from schemas.wire.transition import Transition


class StateChange(NamedTuple):
    """A change of `decided` or `state`, in the terms in which two scenarios are compared. `at` in ms."""

    at: int
    before: StateName
    after: StateName
    enforced: bool
    kind: str
    key: str | None

    @classmethod
    def of_change(cls, change: Change) -> "StateChange":
        """Return a change of the fold in these terms."""
        cause = change.cause
        return cls(change.at, LABELS[change.before], LABELS[change.after], change.enforced, cause.kind, cause.key)

    @classmethod
    def of_rows(cls, rows: Iterable[Transition]) -> "list[StateChange]":
        """Return the changes of audit rows; rows of commands and refusals have none."""
        return [
            cls(row.at, row.before, row.after, row.enforced, row.cause.kind, row.cause.key)
            for row in rows
            if row.kind == "transition" and row.cause is not None
        ]


class DifferentChange(NamedTuple):
    """A change of one side only.

    Attributes:
        side: `recorded` or `replayed`.
        position: of the event at which it was noticed; None at the beginning and at the end of the range.
    """

    tenant: str
    side: str
    change: StateChange
    position: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        change = self.change
        return {
            "tenant": self.tenant,
            "side": self.side,
            "at": change.at,
            "from": change.before,
            "to": change.after,
            "enforced": change.enforced,
            "cause": {"kind": change.kind, "key": change.key},
            "position": self.position,
        }
