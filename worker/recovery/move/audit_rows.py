"""The audit rows of remembered commands, and the row of the same tenant before each. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json

from schemas.domain.state import SleepState
from schemas.wire.state_record import parse_position
from worker.ports import OperationKey

_NOT_REMEMBERED: Final = ("duplicate_operation", "idempotency_conflict")

Row = dict[str, Any]


class Stretch:
    """A stretch of the transitions topic, read forward. Stretches are read from the topic's end backward.

    Args:
        wanted: tenants whose first command in later stretches had no row before it there, with the offset of its event.

    Attributes:
        found: the newest row of each remembered command.
        before: the tenant's row before that, if it is in this stretch.
        answers: of each wanted tenant the last row before that command.
    """

    def __init__(self, wanted: Mapping[str, int]) -> None:
        self.found: dict[OperationKey, Row] = {}
        self.before: dict[OperationKey, Row] = {}
        self.answers: dict[str, Row] = {}
        self._wanted = wanted
        # Of each tenant the last row with the offset of its event, and the last row of an earlier event.
        self._last: dict[str, tuple[int, Row, Row | None]] = {}

    def read(self, row: Row) -> None:
        """Take the next row."""
        tenant, offset = row["tenant"], offset_of(row)
        if offset < self._wanted.get(tenant, 0):
            self.answers[tenant] = row
        last_offset, last, previous = self._last.get(tenant, (offset, row, None))
        if offset < last_offset:
            return  # A worker sent it again after a crash; the first copy came in order.
        previous = last if offset > last_offset else previous
        self._last[tenant] = offset, row, previous
        if _is_remembered(row):
            key = tenant, row["operation_id"]
            self.found[key] = row
            if previous is not None:
                self.before[key] = previous


def row_of(value: bytes | None) -> Row | None:
    """Return a row of the audit, None for any other record: `sleepctl verify` names what no worker wrote."""
    try:
        row: Any = from_json(value or b"null")
        parse_position(row["position"])
        names = {name: row[name] for name in ("operation_id", "kind", "code", "from")}
        return {**row, **names, "tenant": str(row["tenant"]), "at": int(row["at"])}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def offset_of(row: Row) -> int:
    """Return the offset of the event from which a row stems."""
    return parse_position(row["position"])[1]


def needs_row_before(row: Row) -> bool:
    """Tell whether a command's row leaves open in which state the command found the tenant.

    A state other than active was in force only if it was enforced, which the row before says.
    """
    return bool(row["from"] != SleepState.active.label)


def _is_remembered(row: Row) -> bool:
    """Tell whether a row is the outcome or the refusal of a command that is remembered."""
    is_command = isinstance(row["operation_id"], str) and row["kind"] != "transition"
    return is_command and row["code"] not in _NOT_REMEMBERED
