"""Lanes in a world of fakes, API processes that keep the list of its states, and readers that follow them."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

from api.adapters.dependency import Dependency, UnavailableError, keep
from api.adapters.redis_states import Doubted, Slice
from api.adapters.transitions import OffsetRange, Reader
from api.observability.metrics import Metrics
from api.states.audience import Client
from api.states.feed import StatesFeed
from api.states.session import SnapshotPlaces, StatesSession
from schemas.domain.record import Record, unpack
from schemas.kafka.source_record import SourceRecord
from schemas.redis.progress import Progress
from tests.support.redis_contents import StoredPartition
from tests.support.sse import Event, parse_block
from tests.support.states_reader import StatesReader, offset_of
from tests.support.world import World


class Steps:
    """Wakes all that waits for the next step of the test."""

    def __init__(self) -> None:
        self._next = asyncio.Condition()

    async def wait(self, _seconds: float = 0.0) -> None:
        """Wait for the next step."""
        async with self._next:
            await self._next.wait()

    async def go_on(self) -> None:
        """Take a step."""
        async with self._next:
            self._next.notify_all()


class _WorldReader:
    """A reader of the states topic of a world with one partition."""

    def __init__(self, world: World, steps: Steps) -> None:
        self._world = world
        self._steps = steps
        self._next = 0

    async def bounds(self, partitions: Iterable[int]) -> dict[int, OffsetRange]:
        log = self._world.states()
        return {number: OffsetRange(log.start, log.end) for number in partitions}

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._next = offsets[0]

    async def page(self, _seconds: float) -> list[SourceRecord]:
        if not (records := self._world.states().read(self._next, 3)):
            await self._steps.wait()
            records = self._world.states().read(self._next, 3)
        if records:
            self._next = records[-1].offset + 1
        return cast("list[SourceRecord]", records)


class _WorldRows:
    """The rows of a world's store, a few at a time, between which the world goes on."""

    def __init__(self, world: World, steps: Steps, chance: random.Random) -> None:
        self._world = world
        self._steps = steps
        self._random = chance

    def _progress(self) -> tuple[StoredPartition, Progress, str]:
        stored = self._world.stored()
        progress = Progress.unpack(stored.progress)
        lost = len(stored.tenants) != progress.records
        return stored, progress, "not whole" if lost or not 0 <= progress.refolds_to <= progress.next else ""

    async def slices(self, _partition: int) -> AsyncIterator[Slice]:
        names: list[str] | None = None
        process: object = None
        while names is None or names:
            stored, progress, lacking = self._progress()
            if lacking:
                raise UnavailableError("redis", lacking, lacking)
            first = process is not self._world.store.partitions
            if first:
                process, names = self._world.store.partitions, sorted(stored.tenants)
            records = {name: stored.tenants[name] for name in (names or [])[:2] if name in stored.tenants}
            names = (names or [])[2:]
            unpacked = {name: unpack(packed, progress.rules) for name, packed in records.items()}
            begun = progress.next if stored.progress else None
            yield Slice(begun, progress.states_next, progress.rules, unpacked, first)
            if self._random.random() < 0.5:
                await self._steps.wait()

    async def doubted(self, _partition: int, tenants: Sequence[str]) -> Doubted:
        stored, progress, _ = self._progress()
        records: dict[str, Record | None] = {
            name: unpack(stored.tenants[name], progress.rules) if name in stored.tenants else None for name in tenants
        }
        return Doubted(progress.next, progress.rules, records)

    async def incomplete(self, _partitions: Iterable[int]) -> str:
        stored, _, lacking = self._progress()
        return lacking if stored.progress else "no data"

    async def require_known(self, _partition: int) -> None:
        stored, _, lacking = self._progress()
        if lacking or (not stored.progress and self._world.states().end):
            raise UnavailableError("redis", "not whole", "not whole")


class ApiProcess:
    """One API process, as far as it keeps the list of states."""

    def __init__(self, world: World, steps: Steps, chance: random.Random) -> None:
        rows = _WorldRows(world, steps, chance)
        self.places = SnapshotPlaces()

        @asynccontextmanager
        async def open_reader() -> AsyncIterator[Reader]:
            yield _WorldReader(world, steps)

        dependency = Dependency("states")
        self.feed = StatesFeed(
            open_reader,
            rows,
            rows.require_known,
            1,
            dependency,
            Metrics(),
            world.clock.now,
            now=lambda: world.clock.now() / 1_000,
        )
        self._running = asyncio.create_task(keep(dependency, self.feed.run, self.feed.lost, steps.wait))

    async def end(self) -> None:
        """End the process, with all its streams."""
        self.feed.release()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


class Follower:
    """A reader that connects again and again, to one process or another.

    Attributes:
        backward: what it read of a tenant that was older than what it had read of it before.
    """

    def __init__(self, processes: list[ApiProcess], steps: Steps, chance: random.Random) -> None:
        self.reader = StatesReader()
        self.backward: list[str] = []
        self._positions: dict[str, int] = {}
        self._processes = processes
        self._steps = steps
        self._random = chance
        self._cut = asyncio.Event()
        self._running = asyncio.create_task(self._run())

    def cut(self) -> None:
        """Cut the connection."""
        self._cut.set()

    async def end(self) -> None:
        """Follow no more."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            process = self._random.choice(self._processes)
            self._cut.clear()
            self.reader.connect()
            with process.feed.listener() as client:
                reading = asyncio.create_task(self._read(process, client))
                cut = asyncio.create_task(self._cut.wait())
                futures: set[asyncio.Future[Any]] = {reading, cut, client.ended}
                try:
                    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (reading, cut):
                        task.cancel()
                    await asyncio.gather(reading, cut, return_exceptions=True)
            self.reader.ready = False
            await self._steps.wait()

    async def _read(self, process: ApiProcess, client: Client) -> None:
        session = StatesSession(process.feed, process.places, tenants=None, last_id=self.reader.last_id or None)
        async with aclosing(session.chunks(client, 1e9)) as chunks:
            async for chunk in chunks:
                for block in chunk.decode().removesuffix("\n\n").split("\n\n"):
                    self._take(parse_block(block))
                if self._random.random() < 0.2:
                    await self._steps.wait()

    def _take(self, event: Event) -> None:
        self.reader.take(event)
        if event.name not in ("state", "gone"):
            return
        tenant, offset = event.data["tenant"], offset_of(event.data["position"])
        if event.name == "state" and offset < self._positions.get(tenant, -1):
            self.backward.append(f"{tenant} goes from {self._positions[tenant]} back to {offset}")
        self._positions[tenant] = max(offset, self._positions.get(tenant, -1))
