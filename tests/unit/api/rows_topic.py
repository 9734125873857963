"""A topic of Kafka as lists in memory, at the boundary where pages are read backward."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.structs import ConsumerRecord

from api.adapters.transitions import OffsetRange, PlacedReader
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from tests.support.times import NOW

PARTITIONS: Final = 8


def row(tenant: str, event: int, nth: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return a row of the audit."""
    partition = partition_of(tenant, PARTITIONS)
    return {
        "id": f"{partition}:{event}:{nth}",
        "kind": "transition",
        "tenant": tenant,
        "from": "active",
        "to": "deep",
        "cause": {"kind": "operation", "key": "op-1"},
        "event_id": "e-1",
        "event_type": "sleep.operation.v1",
        "operation_id": "op-1",
        "actor": "ops@acme",
        "reason": None,
        "code": None,
        "decision": None,
        "decision_id": None,
        "enforced": True,
        "at": NOW + event,
        "position": f"{partition}:{event}",
        "rules": "ab12",
        **changes,
    }


class FakeRows:
    """The topic; `open` gives readers of it.

    Attributes:
        records: those of each partition, by offset.
        kept: each partition's first offset that is still there.
        dead: partitions without a leader, of which nothing comes.
        ends: the end of a partition whose last offsets hold no record, such as those of a transaction.
        down: why it does not answer, None while it does.
        read: how many records were read in all.
        seeks: where each chunk began.
        seconds: the clock of walks; each page takes `takes`.
    """

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self.records: dict[int, dict[int, SourceRecord]] = {number: {} for number in range(partitions)}
        self.kept = dict.fromkeys(range(partitions), 0)
        self.ends = dict.fromkeys(range(partitions), 0)
        self.dead: set[int] = set()
        self.down: OSError | None = None
        self.read = self.opened = self.reading = self.most_reading = 0
        self.seeks: list[dict[int, int]] = []
        self.seconds = self.takes = 0.0

    def put(self, written: Mapping[str, Any], at: int | None = None) -> int:
        """Append a row of the audit, written at its own time or at another, and return its offset."""
        partition = int(written["id"].partition(":")[0])
        return self.append(partition, json.dumps(written).encode(), written["at"] if at is None else at)

    def append(
        self,
        partition: int,
        value: bytes | None,
        at: int,
        *,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> int:
        """Append any record, and return its offset."""
        offset = self.ends[partition]
        record: Any = ConsumerRecord("topic", partition, offset, at, 0, key, value, None, -1, -1, tuple(headers))
        self.records[partition][offset] = record
        self.ends[partition] = offset + 1
        return offset

    def monotonic(self) -> float:
        """The clock of walks, in seconds."""
        return self.seconds

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PlacedReader]:
        if self.down is not None:
            raise self.down
        self.opened += 1
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            yield FakeRowsReader(self)
        finally:
            self.reading -= 1


class FakeRowsReader:
    """A reader of the topic, which gives at most 500 records a page."""

    def __init__(self, topic: FakeRows) -> None:
        self._topic = topic
        self._next: dict[int, int] = {}

    async def count(self) -> int:
        return len(self._topic.records)

    async def bounds(self, partitions: Iterable[int]) -> dict[int, OffsetRange]:
        return {number: OffsetRange(self._topic.kept[number], self._topic.ends[number]) for number in partitions}

    async def position(self, partition: int) -> int:
        return self._next[partition]

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._next = dict(offsets)
        self._topic.seeks.append(dict(offsets))

    async def page(self, seconds: float) -> list[SourceRecord]:
        assert seconds > 0
        topic = self._topic
        if topic.down is not None:
            raise topic.down
        topic.seconds += topic.takes
        records: list[SourceRecord] = []
        for number, offset in self._next.items():
            if number in topic.dead:
                continue
            while len(records) < 500 and self._next[number] < topic.ends[number]:
                record = topic.records[number].get(self._next[number])
                records += [] if record is None else [record]
                self._next[number] += 1
            assert self._next[number] >= offset
        topic.read += len(records)
        if not records:
            topic.seconds += seconds
        return records
