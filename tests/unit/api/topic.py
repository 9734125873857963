"""The transitions topic as lists in memory, at the boundary where the API reads it; and streams over it."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any, Final, Self

import pytest
from aiokafka.structs import ConsumerRecord

from api.adapters.dependency import Dependency
from api.adapters.transitions import OffsetRange, Reader
from api.observability.metrics import Metrics
from api.queries.tenant import Reads
from api.streaming.catchup import Catchup
from api.streaming.feed import KEPT_BYTES, Feed, Listener
from api.streaming.session import Session
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from tests.support.sse import Event, parse_block
from tests.unit.api.fakes import FakeClock, FakeLog, FakeStore

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

    async def bounds(self, partitions: Iterable[int]) -> dict[int, OffsetRange]:
        await asyncio.sleep(0)
        if self._topic.down is not None:
            raise self._topic.down
        return {
            number: OffsetRange(self._topic.kept[number], len(self._topic.records[number])) for number in partitions
        }

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._next = dict(offsets)

    async def page(self, seconds: float) -> list[SourceRecord]:
        assert seconds > 0
        records = self._ready()
        if not records:
            async with self._changed:
                await self._changed.wait()
            records = self._ready()
        if self._topic.down is not None:
            raise self._topic.down
        await asyncio.sleep(0)
        return records

    def _ready(self) -> list[SourceRecord]:
        records: list[SourceRecord] = []
        for partition, offset in self._next.items():
            fresh = self._topic.records[partition][offset : offset + self._topic.page_records - len(records)]
            records += [_record(partition, offset + index, record) for index, record in enumerate(fresh)]
            self._next[partition] = offset + len(fresh)
        return records


def _record(partition: int, offset: int, value: bytes) -> SourceRecord:
    record: SourceRecord = ConsumerRecord("transitions", partition, offset, 0, 0, None, value, None, -1, -1, ())
    return record


class Client:
    """One stream: its bytes, taken one chunk at a time."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], listener: Listener) -> None:
        self.chunks = chunks
        self.listener = listener
        self.events: list[Event] = []

    async def chunk(self) -> list[Event]:
        """Take one chunk."""
        async with asyncio.timeout(5):
            text = (await anext(self.chunks)).decode()
        assert text.endswith("\n\n")
        events = [parse_block(block) for block in text.removesuffix("\n\n").split("\n\n")]
        self.events += events
        return events

    async def until(self, count: int) -> list[str]:
        """Take chunks until so many transitions have come; return their ids."""
        while len(self.ids) < count:
            await self.chunk()
        return self.ids

    async def until_quiet(self) -> list[str]:
        """Take chunks until a heartbeat comes; return the ids of the transitions."""
        while Event("", None, None) not in await self.chunk():
            pass
        return self.ids

    @property
    def ids(self) -> list[str]:
        """Ids of the transitions that came."""
        return [event.id or "" for event in self.events if event.name == "transition"]

    def named(self, name: str) -> list[Any]:
        """The data of all events of a name."""
        return [event.data for event in self.events if event.name == name]


class Setup:
    """A feed over a topic, and clients of it.

    Attributes:
        seconds: the feed's clock.

    Args:
        listened: whether the topic is read from the beginning, as shortly after a stream.
    """

    def __init__(
        self,
        topic: FakeTopic,
        *,
        kept: int = 50,
        kept_bytes: int = KEPT_BYTES,
        at_once: int = 2,
        listened: bool = True,
    ) -> None:
        self.topic = topic
        self.seconds = 0.0
        self.store = FakeStore()
        self.store.applied = dict.fromkeys(range(PARTITIONS), 0)
        self.dependency = Dependency("transitions")
        self.metrics = Metrics()
        self.feed = Feed(
            topic.open,
            PARTITIONS,
            self.dependency,
            self.metrics,
            kept=kept,
            kept_bytes=kept_bytes,
            now=lambda: self.seconds,
        )
        if listened:
            with self.feed.listener():
                pass
        self.catchup = Catchup(topic.open, at_once=at_once)
        self.reads = Reads(self.store, FakeClock(), FakeLog())
        self._stack = AsyncExitStack()
        self.running: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        await self.hear()
        return self

    async def hear(self) -> None:
        """Start the shared consumer."""
        self.running = asyncio.create_task(self.feed.run())
        await self.topic.heard()

    async def lose(self) -> None:
        """Have the shared consumer's connection break."""
        assert self.running is not None
        self.topic.down = ConnectionError("refused")
        await self.topic.heard()
        with pytest.raises(ConnectionError):
            await self.running
        self.dependency.mark_down("refused")
        self.topic.down = None

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)

    async def client(self, tenant: str | None = "acme", last_id: str | None = None, heartbeat: float = 0) -> Client:
        """Connect."""
        return await self._stack.enter_async_context(self.connected(tenant, last_id, heartbeat))

    @asynccontextmanager
    async def connected(self, tenant: str | None, last_id: str | None, heartbeat: float) -> AsyncIterator[Client]:
        """Connect, for the block."""
        session = Session(self.feed, self.catchup, self.reads, self.store, tenant=tenant, last_id=last_id)
        with self.feed.listener() as listener:
            async with aclosing(session.chunks(listener, heartbeat)) as chunks:
                yield Client(chunks, listener)

    def gauge(self) -> str:
        """The number of open streams, as Prometheus reads it."""
        [line] = [text for text in self.metrics.render().decode().splitlines() if text.startswith("sleep_api_streams ")]
        return line.removeprefix("sleep_api_streams ")
