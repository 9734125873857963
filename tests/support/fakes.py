"""The worker's surroundings in memory: a clock moved by hand, a log, a store with the fence of the scripts, outputs.

Everything implements the protocols of `worker.ports`, yields to the event loop as the real thing does, and can be
made to fail: a method that is away, an answer that is lost on the way back, a call that is held up. They are put
together in `tests.support.world`.
"""

import asyncio
import copy
import heapq
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, cast

from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.kafka.source_record import UNREADABLE_BATCH, Failure, Unreadable
from schemas.names import Topics
from schemas.redis.progress import Progress, known_layout
from schemas.wire.cloudevents import Headers
from tests.support.redis_contents import StoredPartition
from tests.support.times import NOW
from worker import ports
from worker.ports import (
    Commit,
    Due,
    Index,
    Loaded,
    OperationKey,
    Output,
    OutputError,
    Page,
    PartitionStatus,
    TopicRecord,
)

# A loop that is still busy after so many rounds, with nothing outside to wait for, is busy for ever.
_MANY_ROUNDS: Final = 100_000


async def settle() -> None:
    """Let every task run until it waits for something.

    Raises:
        AssertionError: if the tasks never come to rest, since one of them waits for nothing.
    """
    ready: Any = vars(asyncio.get_running_loop())["_ready"]
    for _ in range(_MANY_ROUNDS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError("the tasks never come to rest: one of them is a busy loop")


class FakeClock:
    """A clock that a test moves. Each task that sleeps wakes at its own time."""

    def __init__(self, now: int = NOW) -> None:
        self._now = now
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0
        self.naps: list[float] = []
        """The length of every sleep so far, in seconds, in the order in which they began."""

    def now(self) -> int:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now + round(seconds * 1000), self._count, future))
        await future

    def jump(self, seconds: float) -> None:
        """Set the clock, forward or back, and wake no task."""
        self._now += round(seconds * 1000)

    def wake(self, until: int) -> bool:
        """Wake the next sleeper at its time, unless that is after `until`. Return whether one woke."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers or self._sleepers[0][0] > until:
            self._now = max(self._now, until)
            return False
        at, _, future = heapq.heappop(self._sleepers)
        self._now = max(self._now, at)
        future.set_result(None)
        return True


class Faults:
    """What a test makes of the calls to a fake: counts them, fails them, loses their answers, holds them up.

    Attributes:
        calls: how often each method was called.
        down: methods that fail before they did anything; `*` stands for all.
        lost: methods whose next call is carried out and its answer lost.
        delayed: methods that wait for their event before they do anything.
        latency: awaited before every call is carried out, and again before its answer.
    """

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.calls: Counter[str] = Counter()
        self.down: set[str] = set()
        self.lost: list[str] = []
        self.delayed: dict[str, asyncio.Event] = {}
        self.latency: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
        self._error = error

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Surround what a method does."""
        self.calls[name] += 1
        await self.latency()
        if name in self.delayed:
            await self.delayed[name].wait()
        if self.down & {name, "*"}:
            raise self._error()
        yield
        await self.latency()
        if name in self.lost:
            self.lost.remove(name)
            raise self._error()

    def hold(self, name: str) -> asyncio.Event:
        """Hold up a method until the event that is returned is set."""
        self.delayed[name] = asyncio.Event()
        return self.delayed[name]

    def heal(self) -> None:
        """Undo everything that is wrong, and let go what is held up."""
        self.down.clear()
        self.lost.clear()
        for event_ in self.delayed.values():
            event_.set()


@dataclass(slots=True)
class LogRecord:
    """A record as a consumer sees it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class FakeLog:
    """One partition of a topic."""

    def __init__(self, topic: str, partition: int, now: Callable[[], int]) -> None:
        self.topic = topic
        self.partition = partition
        self.start = 0
        self.end = 0
        self.records: list[LogRecord] = []
        self._now = now

    def append(self, outputs: Iterable[Output], timestamp: int | None = None) -> int:
        """Append with the log's time, or another, and return the offset after the last."""
        for key, value, headers in outputs:
            at = self._now() if timestamp is None else timestamp
            self.records.append(LogRecord(self.topic, self.partition, self.end, at, key, value, headers))
            self.end += 1
        return self.end

    def skip(self, count: int = 1) -> None:
        """Use up offsets without a record, as a transaction's markers do."""
        self.end += count

    def append_unreadable(self, count: int = 1) -> Unreadable:
        """Append a batch of so many records of which none can be read, and return what stands in their place."""
        first, self.end = self.end, self.end + count
        failure = Failure(UNREADABLE_BATCH, f"the batch of offsets {first} to {self.end - 1} cannot be read: its codec")
        raw = b"raw bytes %d" % first
        batch = Unreadable(self.topic, self.partition, first, self.end - 1, self._now(), 1, None, raw, (), failure)
        self.records.append(cast("LogRecord", batch))  # It has what a record has.
        return batch

    def trim(self, start: int) -> None:
        """Delete all records before an offset, as retention does."""
        self.start = start
        self.records = [record for record in self.records if record.offset >= start]

    def cut(self, end: int) -> None:
        """Delete all records from an offset on, as a truncation does."""
        self.end = end
        self.records = [record for record in self.records if record.offset < end]

    def read(self, offset: int, most: int) -> list[LogRecord]:
        """Return records from an offset on; from the start, where the log no longer holds it."""
        first = bisect_left(self.records, offset, key=lambda record: record.offset)
        return self.records[first : first + most]


class FakeKafka:
    """All partitions of all topics."""

    def __init__(self, clock: FakeClock) -> None:
        self.behind_ms = 0
        """How far the brokers' clocks are behind that of the workers."""
        self._clock = clock
        self._logs: dict[tuple[str, int], FakeLog] = {}

    def now(self) -> int:
        """Return the time with which the brokers stamp records."""
        return self._clock.now() - self.behind_ms

    def log(self, topic: str, partition: int = 0) -> FakeLog:
        """Return a partition, made at its first use."""
        return self._logs.setdefault((topic, partition), FakeLog(topic, partition, self.now))

    def records(self, topic: str) -> list[LogRecord]:
        """Return all records of a topic, partition by partition."""
        return [record for (name, _), log in sorted(self._logs.items()) if name == topic for record in log.records]


class FakeOutputs:
    """`worker.ports.Outputs` onto a fake Kafka; faults are named `send`, `send:<topic>` and `dead_letters`."""

    def __init__(self, kafka: FakeKafka, topics: Topics) -> None:
        self.topics = topics
        self.faults = Faults(lambda: OutputError("kafka is away"))
        self._kafka = kafka

    async def send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        if not outputs:
            return None
        async with self.faults.of("send"), self.faults.of(f"send:{topic}"):
            return self._kafka.log(topic, partition).append(outputs)

    async def dead_letters(self, partition: int, outputs: Sequence[Output]) -> None:
        async with self.faults.of("dead_letters"):
            self._kafka.log(self.topics.deadletter, partition).append(outputs)


class FakeReader:
    """`worker.ports.Reader` of a fake Kafka; faults are named `end` and `read`."""

    def __init__(self, kafka: FakeKafka) -> None:
        self.faults = Faults(lambda: OutputError("the broker is away"))
        self._kafka = kafka

    async def end(self, topic: str, partition: int) -> int:
        async with self.faults.of("end"):
            return self._kafka.log(topic, partition).end

    async def read(self, topic: str, partition: int, offset: int, most: int) -> Page:
        async with self.faults.of("read"):
            log = self._kafka.log(topic, partition)
            matching = [
                TopicRecord(item.offset, item.timestamp, item.key, item.value) for item in log.read(offset, most)
            ]
            return Page(matching, matching[-1].offset + 1 if matching else log.end)


class FakeStore:
    """`worker.ports.Store` in a few dicts, fenced as the scripts are; faults carry the methods' names."""

    def __init__(self) -> None:
        self.partitions: defaultdict[int, StoredPartition] = defaultdict(StoredPartition)
        self.answers: list[tuple[str, bytes]] = []
        self.faults = Faults(lambda: RedisConnectionError("redis is away"))

    def snapshot(self) -> dict[int, StoredPartition]:
        """Return a copy of everything, for `restore`."""
        return copy.deepcopy(dict(self.partitions))

    def restore(self, snapshot: dict[int, StoredPartition]) -> None:
        """Go back to a snapshot, as a Redis does that lost its last second."""
        self.partitions = defaultdict(StoredPartition, copy.deepcopy(snapshot))

    async def partition_status(self, partition: int) -> PartitionStatus:
        async with self.faults.of("partition_status"):
            stored = self.partitions[partition]
            return PartitionStatus(
                Progress.unpack(stored.progress),
                bool(stored.progress),
                len(stored.tenants),
                len(stored.timers),
                stored.counts.total(),
                len(stored.open),
                len(stored.operations),
                len(stored.ended),
            )

    async def load(
        self, partition: int, position: int, tenants: Sequence[str], operations: Sequence[OperationKey]
    ) -> Loaded | None:
        async with self.faults.of("load"):
            stored = self.partitions[partition]
            if not (stored.stands_at(position) and stored.knows_its_commands):
                return None
            sizes = accumulate(len(stored.tenants.get(tenant, b"")) for tenant in tenants)
            most = next((number for number, size in enumerate(sizes, 1) if size >= ports.LOAD_BYTES), len(tenants))
            records = [stored.tenants.get(tenant) for tenant in tenants[:most]]
            return Loaded(records, list(map(stored.packed, operations)))

    async def commit(self, partition: int, commit: Commit) -> bool:
        async with self.faults.of("commit"):
            stored = self.partitions[partition]
            if not (stored.stands_at(commit.position) and stored.keeps_what_it_had):
                return False
            stored.tenants.update(commit.records)
            stored.timers.update(commit.timers)
            for tenant in commit.removed_records:
                stored.tenants.pop(tenant, None)
            for tenant in commit.removed_timers:
                stored.timers.pop(tenant, None)
            for state, difference in commit.count_changes.items():
                stored.counts[state] += difference
            for tenant, open_ended in commit.open_ended.items():
                (stored.open.add if open_ended else stored.open.discard)(tenant)
            stored.operations.update(commit.operations)
            for command in commit.ended_operations:
                stored.note_end(command)
            for command in commit.operations:
                stored.older.pop(command, None)
            stored.receipts.difference_update(commit.removed_receipts)
            stored.forget(commit.forget_to)
            numbers = {
                "records": len(stored.tenants),
                "timers": len(stored.timers),
                "open": len(stored.open),
                "operations": len(stored.operations),
                "ended": len(stored.ended),
            }
            fields = commit.progress.fields() | numbers
            stored.progress.update({name.encode(): _bytes(value) for name, value in fields.items()})
            self.answers += commit.answers
            return True

    async def due(self, partition: int, after: int, now: int, skip: int, most: int) -> Due:
        async with self.faults.of("due"):
            stored = self.partitions[partition]
            by_time = sorted(stored.timers.items(), key=lambda timer: (timer[1], timer[0]))
            due = [timer for timer in by_time if after < timer[1] <= now]
            later = next((at for _, at in by_time if at > now), None)
            complete = stored.has_still(b"timers", len(stored.timers))
            return Due(stored.next, due[skip : skip + most], later, complete=complete)

    async def scan(self, partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        async with self.faults.of("scan"):
            tenants = sorted(self.partitions[partition].tenants.items())
            page = {tenant.encode(): packed for tenant, packed in tenants[cursor : cursor + count]}
            return (cursor + count if cursor + count < len(tenants) else 0), page

    async def index(self, partition: int) -> Index:
        """As `worker.adapters.redis_store.LaneStore`, for the command line."""
        async with self.faults.of("index"):
            stored = self.partitions[partition]
            return Index(dict(stored.timers), dict(stored.counts), set(stored.open))

    async def index_at(self, partition: int, position: int, tenants: Sequence[str]) -> Index | None:
        """As `index`."""
        async with self.faults.of("index_at"):
            stored = self.partitions[partition]
            if not stored.stands_at(position):
                return None
            timers = {tenant: stored.timers[tenant] for tenant in tenants if tenant in stored.timers}
            return Index(timers, dict(stored.counts), stored.open & set(tenants))

    async def operations(self, partition: int, operations: Sequence[OperationKey]) -> list[bytes | None]:
        """As `index`."""
        async with self.faults.of("operations"):
            stored = self.partitions[partition]
            return list(map(stored.packed, operations))

    async def mark(self, partition: int) -> int | None:
        """As `index`."""
        async with self.faults.of("mark"):
            progress = self.partitions[partition].progress
            known_layout(progress.get(b"layout"))
            position = progress.get(b"next")
            return None if position is None else int(position)

    async def clear(self, partition: int, expected: int | None, mark: int) -> bool:
        """As `clear.lua`: the keys of older layouts stay."""
        async with self.faults.of("clear"):
            stored = self.partitions[partition]
            if stored.progress.get(b"next") != (None if expected is None else str(expected).encode()):
                return False
            marked = {b"next": str(mark).encode()}
            self.partitions[partition] = StoredPartition(marked, older=stored.older, receipts=stored.receipts)
            return True


def _bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
