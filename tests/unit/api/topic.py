"""The transitions topic as lists in memory, at the boundary where the API reads it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from api.stream.transitions import Bounds, Reader, Row, parse
from schemas.partition import partition_of

PARTITIONS: Final = 8


def value(tenant: str, event: int, nth: int = 0, *, kind: str = "transition", partitions: int = PARTITIONS) -> bytes:
    """A record of the topic, as much of it as streams read."""
    return json.dumps(
        {"id": f"{partition_of(tenant, partitions)}:{event}:{nth}", "kind": kind, "tenant": tenant}
    ).encode()


class FakeTopic:
    """The topic; `open` gives readers of it.

    Attributes:
        kept: each partition's first offset that is still there.
        down: why it does not answer, None while it does.
        opened: how often a reader was made.
        reading: how many there are now, and `most_reading` at once.
    """

    def __init__(self, *, page_records: int = 500) -> None:
        self.records: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
        self.kept = dict.fromkeys(range(PARTITIONS), 0)
        self.down: OSError | None = None
        self.opened = self.reading = self.most_reading = 0
        self.page_records = page_records
        self._changed = asyncio.Condition()

    def put(self, tenant: str, event: int, nth: int = 0, *, kind: str = "transition") -> str:
        """Append a record and return the id of its event in the tenant's stream."""
        partition = partition_of(tenant, PARTITIONS)
        self.records[partition].append(value(tenant, event, nth, kind=kind))
        return f"{len(self.records[partition]) - 1}/{partition}:{event}:{nth}"

    async def heard(self) -> None:
        """Wake every reader, and let all that follows from it happen."""
        for _ in range(3):
            async with self._changed:
                self._changed.notify_all()
            for _ in range(20):
                await asyncio.sleep(0)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Reader]:
        if self.down is not None:
            raise self.down
        self.opened += 1
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        try:
            yield FakeReader(self, self._changed)
        finally:
            self.reading -= 1


class FakeReader:
    """A reader that has a page as soon as there is a record, and else waits to be woken."""

    def __init__(self, topic: FakeTopic, changed: asyncio.Condition) -> None:
        self._topic = topic
        self._changed = changed
        self._next: dict[int, int] = {}

    async def bounds(self, partitions: Iterable[int]) -> dict[int, Bounds]:
        await asyncio.sleep(0)
        if self._topic.down is not None:
            raise self._topic.down
        return {number: Bounds(self._topic.kept[number], len(self._topic.records[number])) for number in partitions}

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._next = dict(offsets)

    async def page(self, seconds: float) -> list[Row]:
        assert seconds > 0
        rows = self._ready()
        if not rows:
            async with self._changed:
                await self._changed.wait()
            rows = self._ready()
        if self._topic.down is not None:
            raise self._topic.down
        await asyncio.sleep(0)
        return rows

    def _ready(self) -> list[Row]:
        rows: list[Row] = []
        for partition, offset in self._next.items():
            fresh = self._topic.records[partition][offset : offset + self._topic.page_records - len(rows)]
            rows += [parse(partition, offset + index, record) for index, record in enumerate(fresh)]
            self._next[partition] = offset + len(fresh)
        return rows
