"""Compares the rows of a replay under the recorded rules with the rows that the workers published. Pure.

Rows are identified by their ids. Both sides come in the order of the log, mostly. A worker that crashed sends rows
again, and one that has lost its partition may append its last rows late. So a row waits for its counterpart.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
from pydantic_core import from_json

from schemas.kafka.source_record import SourceRecord
from schemas.wire.state_record import parse_position
from schemas.wire.transition import Transition
from worker.recovery.audit import Audit
from worker.recovery.errors import ContradictionError
from worker.recovery.skipped_records import SkippedRecords

Row = dict[str, Any]
_MOST_EXAMPLES: Final = 20
_MOST_WAITING: Final = 10_000
"""How many rows without a counterpart wait for it. Above that the first of them counts as different."""
_NO_IDS: Final = 1 << 63
"""An offset that no row has: no ids are stored."""


class RowDifference(NamedTuple):
    """A row that one side lacks, or that has another content on each side."""

    audit: Row | None
    replay: Row | None

    def as_json(self) -> dict[str, Any]:
        """Return the document form."""
        row = self.audit or self.replay or {}
        return {"id": row["id"], "tenant": row["tenant"], "audit": self.audit, "replay": self.replay}


class AuditCheck:
    """The rows of one partition.

    Args:
        partition: its number.
        fold_from: the offset at which the fold begins.
        first, next: the range of the events topic whose rows are compared.
        compares: whether the replay folds the event of a tenant at an offset.
        skipped: learns of every position from which a row stems.

    Attributes:
        read_to: the highest offset of the events topic from which a row was read, -1 for none.
        matched: how many rows both sides have.
        differences: how many rows one side lacks, or has otherwise.
        tenants: the tenants of these rows.
        examples: the first of these.
        earlier: the commands of events before the fold.
    """

    def __init__(
        self,
        partition: int,
        fold_from: int,
        first: int,
        next_: int,
        *,
        compares: Callable[[str, int], bool],
        skipped: SkippedRecords,
    ) -> None:
        self.read_to = -1
        self.matched = 0
        self.differences = 0
        self.tenants: set[str] = set()
        self.examples: list[RowDifference] = []
        self.earlier = Audit(partition, _NO_IDS)
        self._partition = partition
        self._fold_from = fold_from
        self._range = range(first, next_)
        self._compares = compares
        self._skipped = skipped
        self._folded_to = -1
        self._published: dict[str, Row] = {}
        self._folded: dict[str, Row] = {}

    def read(self, record: SourceRecord) -> None:
        """Take the next record of the transitions topic.

        Raises:
            ContradictionError: if no worker wrote it.
        """
        try:
            row: Row = from_json(record.value or b"null")
            partition, offset = parse_position(row["position"])
            id_, tenant = str(row["id"]), str(row["tenant"])
        except (ValueError, KeyError, TypeError) as error:
            raise ContradictionError(
                f"transitions topic {self._partition}:{record.offset}: no worker wrote this record: {error}"
            ) from error
        if partition != self._partition:
            raise ContradictionError(
                f"position {row['position']} is on transitions partition {self._partition}; did the partition count "
                "change?"
            )
        self.read_to = max(self.read_to, offset)
        self._skipped.mark_folded(offset, tenant.encode())
        if offset < self._fold_from:
            self.earlier.read(record)
        if offset not in self._range or not self._compares(tenant, offset):
            return
        if (folded := self._folded.pop(id_, None)) is not None:
            self._compare(row, folded)
        elif offset > self._folded_to:
            self._published[id_] = row
        # Otherwise a worker sent it twice.

    def folded(self, offset: int, rows: Iterable[Transition]) -> None:
        """Take the rows that the replay makes of the next event."""
        if offset not in self._range:
            return
        self._folded_to = offset
        for row in rows:
            document = msgspec.to_builtins(row)
            if (published := self._published.pop(row.id, None)) is not None:
                self._compare(published, document)
            else:
                self._folded[row.id] = document
        while len(self._folded) > _MOST_WAITING:
            self._differ(None, self._folded.pop(next(iter(self._folded))))

    def pass_to(self, offset: int) -> None:
        """Learn that the replay has read all events before an offset: rows of earlier events get no counterpart."""
        self._folded_to = max(self._folded_to, offset - 1)
        late = [id_ for id_, row in self._published.items() if parse_position(row["position"])[1] < offset]
        for id_ in late:
            self._differ(self._published.pop(id_), None)

    @property
    def waits(self) -> bool:
        """Whether rows of the replay wait for their counterparts."""
        return bool(self._folded)

    def finish(self) -> None:
        """Count what still waits as different; both sides are read to the end."""
        for row in self._published.values():
            self._differ(row, None)
        for row in self._folded.values():
            self._differ(None, row)
        self._published, self._folded = {}, {}

    def _compare(self, published: Row, folded: Row) -> None:
        if published == folded:
            self.matched += 1
        else:
            self._differ(published, folded)

    def _differ(self, published: Row | None, folded: Row | None) -> None:
        self.differences += 1
        self.tenants.add((published or folded or {})["tenant"])
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(RowDifference(published, folded))
