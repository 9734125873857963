"""The worker's surroundings in memory: a clock moved by hand, a log, a store with the fence of the scripts, outputs.

Everything implements the protocols of `worker.ports`, yields to the event loop as the real thing does, and can be
made to fail: a method that is away, an answer that is lost on the way back, a call that is held up. `tests.world`
puts them together.
"""

import asyncio
import copy
import heapq
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.cloudevents import Headers
from schemas.names import Topics
from schemas.progress import Progress, known_layout
from worker.ports import Commit, Due, Index, Kept, Loaded, Output, OutputError, Page, Standing

NOW: Final = 1_795_334_837_992
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
    """Time that passes only when it is told to; whoever sleeps wakes at his own time."""

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
        """Set the clock, forward or back, and wake nobody."""
        self._now += round(seconds * 1000)

    def wake(self, until: int) -> bool:
        """Go to the time of the next sleeper and wake him, unless that is after `until`; tell whether it was not."""
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
        held: methods that wait for their event before they do anything.
        latency: awaited before every call is carried out, and again before its answer.
    """

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.calls: Counter[str] = Counter()
        self.down: set[str] = set()
        self.lost: list[str] = []
        self.held: dict[str, asyncio.Event] = {}
        self.latency: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
        self._error = error

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Surround what a method does."""
        self.calls[name] += 1
        await self.latency()
        if name in self.held:
            await self.held[name].wait()
        if self.down & {name, "*"}:
            raise self._error()
        yield
        await self.latency()
        if name in self.lost:
            self.lost.remove(name)
            raise self._error()

    def hold(self, name: str) -> asyncio.Event:
        """Hold up a method until the event that is returned is set."""
        self.held[name] = asyncio.Event()
        return self.held[name]

    def heal(self) -> None:
        """Undo everything that is wrong, and let go what is held up."""
        self.down.clear()
        self.lost.clear()
        for event_ in self.held.values():
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

    def trim(self, start: int) -> None:
        """Forget what lies before an offset, as retention does."""
        self.start = start
        self.records = [record for record in self.records if record.offset >= start]

    def cut(self, end: int) -> None:
        """Lose what lies from an offset on."""
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
            found = [Kept(item.offset, item.timestamp, item.key, item.value) for item in log.read(offset, most)]
            return Page(found, found[-1].offset + 1 if found else log.end)


@dataclass
class Held:
    """What the store holds of one partition; operations with the time for which their key stays, ms."""

    progress: dict[bytes, bytes] = field(default_factory=dict)
    tenants: dict[str, bytes] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    operations: dict[tuple[str, str], tuple[bytes, int]] = field(default_factory=dict)

    @property
    def next(self) -> int:
        """The offset of the first record not applied."""
        return int(self.progress.get(b"next", b"0"))

    def stands_at(self, position: int) -> bool:
        """The fence of `load.lua` and `commit.lua`."""
        return self.next == position and int(self.progress.get(b"records", b"0")) == len(self.tenants)

    def has_still(self, name: bytes, number: int) -> bool:
        """Whether there are as many as the last commit left; beside layout 1 nobody has said."""
        known = int(self.progress.get(b"layout", b"1")) > 1 and name in self.progress
        return not known or int(self.progress[name]) == number

    @property
    def keeps_what_it_had(self) -> bool:
        """The rest of the fence of `commit.lua`."""
        return self.has_still(b"timers", len(self.timers)) and self.has_still(b"open", len(self.open))


class FakeStore:
    """`worker.ports.Store` in a few dicts, fenced as the scripts are; faults carry the methods' names."""

    def __init__(self) -> None:
        self.partitions: defaultdict[int, Held] = defaultdict(Held)
        self.answers: list[tuple[str, bytes]] = []
        self.faults = Faults(lambda: RedisConnectionError("redis is away"))

    def snapshot(self) -> dict[int, Held]:
        """Return a copy of everything, for `restore`."""
        return copy.deepcopy(dict(self.partitions))

    def restore(self, snapshot: dict[int, Held]) -> None:
        """Go back to a snapshot, as a Redis does that lost its last second."""
        self.partitions = defaultdict(Held, copy.deepcopy(snapshot))

    async def standing(self, partition: int) -> Standing:
        async with self.faults.of("standing"):
            held = self.partitions[partition]
            return Standing(
                Progress.unpack(held.progress),
                bool(held.progress),
                len(held.tenants),
                len(held.timers),
                held.counts.total(),
                len(held.open),
            )

    async def load(
        self, partition: int, position: int, tenants: Sequence[str], operations: Sequence[tuple[str, str]]
    ) -> Loaded | None:
        async with self.faults.of("load"):
            held = self.partitions[partition]
            if not held.stands_at(position):
                return None
            kept = [held.operations.get(operation, (None, 0))[0] for operation in operations]
            return Loaded([held.tenants.get(tenant) for tenant in tenants], kept)

    async def commit(self, partition: int, commit: Commit) -> bool:
        async with self.faults.of("commit"):
            held = self.partitions[partition]
            if not (held.stands_at(commit.position) and held.keeps_what_it_had):
                return False
            held.tenants.update(commit.records)
            held.timers.update(commit.timers)
            for tenant in commit.removed:
                held.tenants.pop(tenant, None)
            for tenant in commit.untimed:
                held.timers.pop(tenant, None)
            for state, difference in commit.counts.items():
                held.counts[state] += difference
            for tenant, open_ended in commit.open_ended.items():
                (held.open.add if open_ended else held.open.discard)(tenant)
            for tenant, operation_id, packed, kept_ms in commit.operations:
                held.operations[tenant, operation_id] = packed, kept_ms
            numbers = {"records": len(held.tenants), "timers": len(held.timers), "open": len(held.open)}
            fields = commit.progress | numbers
            held.progress.update({name.encode(): _bytes(value) for name, value in fields.items()})
            self.answers += commit.answers
            return True

    async def due(self, partition: int, now: int, skip: int, most: int) -> Due:
        async with self.faults.of("due"):
            held = self.partitions[partition]
            by_time = sorted(held.timers.items(), key=lambda timer: (timer[1], timer[0]))
            due = [timer for timer in by_time if timer[1] <= now]
            later = next((at for _, at in by_time if at > now), None)
            whole = held.has_still(b"timers", len(held.timers))
            return Due(held.next, due[skip : skip + most], later, whole=whole)

    async def scan(self, partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        async with self.faults.of("scan"):
            tenants = sorted(self.partitions[partition].tenants.items())
            page = {tenant.encode(): packed for tenant, packed in tenants[cursor : cursor + count]}
            return (cursor + count if cursor + count < len(tenants) else 0), page

    async def index(self, partition: int) -> Index:
        """As `worker.store.Store`, for the command line."""
        async with self.faults.of("index"):
            held = self.partitions[partition]
            return Index(dict(held.timers), dict(held.counts), set(held.open))

    async def index_at(self, partition: int, position: int, tenants: Sequence[str]) -> Index | None:
        """As `index`."""
        async with self.faults.of("index_at"):
            held = self.partitions[partition]
            if not held.stands_at(position):
                return None
            timers = {tenant: held.timers[tenant] for tenant in tenants if tenant in held.timers}
            return Index(timers, dict(held.counts), held.open & set(tenants))

    async def operations(self, partition: int, operations: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """As `index`."""
        async with self.faults.of("operations"):
            held = self.partitions[partition]
            return [held.operations.get(operation, (None, 0))[0] for operation in operations]

    async def mark(self, partition: int) -> int | None:
        """As `index`."""
        async with self.faults.of("mark"):
            progress = self.partitions[partition].progress
            known_layout(progress.get(b"layout"))
            found = progress.get(b"next")
            return None if found is None else int(found)

    async def clear(self, partition: int, expected: int | None, mark: int) -> bool:
        """As `clear.lua`: operations stay."""
        async with self.faults.of("clear"):
            held = self.partitions[partition]
            if held.progress.get(b"next") != (None if expected is None else str(expected).encode()):
                return False
            self.partitions[partition] = Held({b"next": str(mark).encode()}, operations=held.operations)
            return True


def _bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
