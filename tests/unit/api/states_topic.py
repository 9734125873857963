"""The states topic and the rows of Redis in memory, at the boundary where the API reads them; and clients."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from aiokafka import ConsumerRecord
from msgspec.structs import replace

from api.adapters.dependency import Dependency, UnavailableError, keep
from api.adapters.redis_states import Doubted, Slice
from api.adapters.transitions import OffsetRange, Reader
from api.observability.metrics import Metrics
from api.states.audience import Client
from api.states.feed import StatesFeed
from api.states.session import SnapshotPlaces, StatesSession
from schemas.domain.policy import BUILT_IN_RULES, Rules
from schemas.domain.record import Record
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from schemas.wire.cloudevents import Headers
from schemas.wire.tenant_view import encoded_state
from tests.support.claims import breaker, folded
from tests.support.sse import Event, parse_block
from tests.support.times import NOW
from tests.unit.api.fakes import FakeClock

PARTITIONS: Final = 4
ACME: Final = partition_of("acme", PARTITIONS)
OTHERS: Final = [
    name for name in (f"tenant-{number}" for number in range(50)) if partition_of(name, PARTITIONS) == ACME
]
"""Tenants of acme's partition."""


class FakeStatesTopic:
    """The topic; `open` gives readers of it.

    Attributes:
        logs: the records of each partition.
        start: the first offset of each partition that is still there.
        down: why it does not answer, None while it does.
    """

    def __init__(self, partitions: int = PARTITIONS) -> None:
        self.logs: dict[int, list[SourceRecord]] = {partition: [] for partition in range(partitions)}
        self.start = dict.fromkeys(range(partitions), 0)
        self.down: OSError | None = None
        self.opened = 0
        self._changed = asyncio.Condition()

    def put(self, partition: int, key: str, value: bytes | None, headers: Headers = (), *, timestamp: int = 0) -> int:
        """Append a record, and return its offset."""
        log = self.logs[partition]
        record: SourceRecord = ConsumerRecord(
            "states", partition, len(log), timestamp, 1, key.encode(), value, None, -1, -1, headers
        )
        log.append(record)
        return len(log) - 1

    async def changed(self) -> None:
        """Wait until `heard` is called."""
        async with self._changed:
            await self._changed.wait()

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
        yield _FakeReader(self, self._changed)


class _FakeReader:
    """A reader that has a page as soon as there is a record, and else waits to be woken."""

    def __init__(self, topic: FakeStatesTopic, changed: asyncio.Condition) -> None:
        self._topic = topic
        self._changed = changed
        self._next: dict[int, int] = {}

    async def bounds(self, partitions: Iterable[int]) -> dict[int, OffsetRange]:
        await asyncio.sleep(0)
        if self._topic.down is not None:
            raise self._topic.down
        return {number: OffsetRange(self._topic.start[number], len(self._topic.logs[number])) for number in partitions}

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
        return records

    def _ready(self) -> list[SourceRecord]:
        records = [
            record for partition, offset in self._next.items() for record in self._topic.logs[partition][offset:]
        ]
        self._next |= {partition: len(self._topic.logs[partition]) for partition in self._next}
        return records


@dataclass
class FakeRows:
    """Redis as a few dicts.

    Attributes:
        records: each partition's records by tenant, in slices of `size`.
        next, states_next: of each partition; a partition that is absent has no progress.
        between: called after each slice.
    """

    partitions: int = PARTITIONS
    records: dict[int, dict[str, Record]] = field(default_factory=dict)
    next: dict[int, int] = field(default_factory=dict)
    states_next: dict[int, int] = field(default_factory=dict)
    rules: list[Rules] = field(default_factory=lambda: [BUILT_IN_RULES])
    size: int = 100
    lacking: str = ""
    down: bool = False
    scans: int = 0

    def put(self, tenant: str, record: Record) -> None:
        """Write a record, as a commit does."""
        self.records.setdefault(partition_of(tenant, self.partitions), {})[tenant] = record

    def _look(self) -> None:
        if self.down:
            raise UnavailableError("redis", "connection refused")

    async def slices(self, partition: int) -> AsyncIterator[Slice]:
        self._look()
        self.scans += 1
        names = sorted(self.records.get(partition, {}))
        first = True
        for start in range(0, max(len(names), 1), self.size):
            chosen = {name: self.records[partition][name] for name in names[start : start + self.size]}
            yield Slice(self.next.get(partition), self.states_next.get(partition), self.rules, chosen, first)
            first = False
            await self.between()
            self._look()

    async def between(self) -> None:
        """Happen between two slices."""

    async def doubted(self, partition: int, tenants: Sequence[str]) -> Doubted:
        self._look()
        records = self.records.get(partition, {})
        return Doubted(self.next.get(partition, 0), self.rules, {tenant: records.get(tenant) for tenant in tenants})

    async def incomplete(self, partitions: Iterable[int]) -> str:
        self._look()
        assert list(partitions)
        return self.lacking

    async def require_known(self, _partition: int) -> None:
        self._look()
        if self.lacking:
            raise UnavailableError("redis", self.lacking, self.lacking)


class StatesClient:
    """One stream: its bytes, taken one chunk at a time."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], client: Client) -> None:
        self.chunks = chunks
        self.client = client
        self.events: list[Event] = []

    async def chunk(self) -> list[Event]:
        """Take one chunk."""
        async with asyncio.timeout(5):
            text = (await anext(self.chunks)).decode()
        assert text.endswith("\n\n")
        events = [parse_block(block) for block in text.removesuffix("\n\n").split("\n\n")]
        self.events += events
        return events

    async def until(self, name: str) -> list[Event]:
        """Take chunks until an event of this name comes; return all that came, from the last call on."""
        came: list[Event] = []
        while not any(event.name == name for event in came):
            came += await self.chunk()
        return came

    def named(self, name: str) -> list[Any]:
        """The data of all events of a name."""
        return [event.data for event in self.events if event.name == name]

    @property
    def last_id(self) -> str:
        """The last id that came."""
        ids = [event.id for event in self.events if event.id]
        return ids[-1]


class StatesSetup:
    """A feed over a topic and rows, and clients of it.

    Attributes:
        seconds: the feed's monotonic clock.
    """

    def __init__(self, metrics: Metrics | None = None, partitions: int = PARTITIONS) -> None:
        self.partitions = partitions
        self.topic = FakeStatesTopic(partitions)
        self.rows = FakeRows(partitions)
        self.metrics = metrics or Metrics()
        self.clock = FakeClock()
        self.seconds = 0.0
        self.dependency = Dependency("states")
        self.places = SnapshotPlaces()
        self.feed = self._feed()
        self.running: asyncio.Task[Any] | None = None
        self._stack = AsyncExitStack()

    def _feed(self) -> StatesFeed:
        return StatesFeed(
            self.topic.open,
            self.rows,
            self.rows.require_known,
            self.partitions,
            self.dependency,
            self.metrics,
            self.clock,
            now=lambda: self.seconds,
        )

    async def __aenter__(self) -> Self:
        self.running = asyncio.create_task(keep(self.dependency, self.feed.run, self.feed.lost, self._pause))
        return self

    async def _pause(self, _seconds: float) -> None:
        """Try again as soon as the topic is heard."""
        await self.topic.changed()

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)

    async def leave(self) -> None:
        """End all clients."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def client(
        self, tenants: Sequence[str] | None = None, last_id: str | None = None, seconds: float = 60.0
    ) -> StatesClient:
        """Connect."""
        session = StatesSession(self.feed, self.places, tenants=tenants, last_id=last_id)
        client = self._stack.enter_context(self.feed.listener())
        chunks = await self._stack.enter_async_context(aclosing(session.chunks(client, seconds)))
        return StatesClient(chunks, client)

    async def ready(self, **options: Any) -> StatesClient:  # noqa: ANN401 - those of `client`
        """Connect, and take all up to `ready`."""
        client = await self.client(**options)
        await client.until("ready")
        return client


def asleep(offset: int, expires_at: int | None = None) -> Record:
    """A record of a tenant that a breaker put to sleep."""
    return replace(folded([breaker("a@1", "open", expires_at)]).record, offset=offset)


def awake(offset: int) -> Record:
    """A record of a tenant that is awake, at the default."""
    return replace(folded([]).record, offset=offset)


def value(tenant: str, record: Record) -> bytes:
    """The public record, as a worker publishes it."""
    return encoded_state(tenant, partition_of(tenant, PARTITIONS), record, BUILT_IN_RULES.terms)


def publish(setup: StatesSetup, tenant: str, record: Record) -> int:
    """Append a tenant's state to the topic, and return its offset there."""
    return setup.topic.put(partition_of(tenant, PARTITIONS), tenant, value(tenant, record), timestamp=NOW)


def commit(setup: StatesSetup, tenant: str, record: Record) -> None:
    """Write a tenant's record into Redis, with the progress; what is on the topic is committed with it."""
    partition = partition_of(tenant, PARTITIONS)
    setup.rows.put(tenant, record)
    setup.rows.next[partition] = max(setup.rows.next.get(partition, 0), record.offset + 1)
    setup.rows.states_next[partition] = len(setup.topic.logs[partition])


def states(events: list[Any]) -> list[tuple[str, str]]:
    """Tenant and position of each `state`."""
    return [(event.data["tenant"], event.data["position"]) for event in events if event.name == "state"]
