"""A virtual worker: the production lanes, fed by a consumer that fetches, loses and delays as the real one may."""

import asyncio
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from schemas.names import Topics, reply_channel
from tests.simulation.chances import Chances
from tests.simulation.loop import Loop, Machine
from tests.simulation.network import Network
from tests.simulation.ports import LOG, LogPort, StorePort, WorkersClock
from tests.simulation.servers import Broker, Database, TrueClock
from worker.metrics import Metrics
from worker.partition.context import LaneContext, LaneSettings
from worker.partition.fetch_buffer import FetchedBatch
from worker.partition.lane import Lane
from worker.partition.manager import LaneManager
from worker.ports import OutputError
from worker.runtime.unreadable_batches import UnreadableBatches

if TYPE_CHECKING:
    from tests.simulation.group import Group

# One for all runs of a process: nobody reads it here, and a registry takes longer to make than a run takes.
# It logs each refusal: with a limit, the trace of a run would depend on the runs before it.
_METRICS: Final = Metrics(lines=math.inf)
_FETCH_SECONDS: Final = 10.0


class Surroundings(Protocol):
    """What a worker finds around itself."""

    loop: Loop
    random: random.Random
    chances: Chances
    network: Network
    broker: Broker
    database: Database
    clock: TrueClock
    topics: Topics
    partitions: int
    memory_ms: int | None
    group: "Group"

    def trace(self, *words: object) -> None:
        """Note a line of the trace."""


class VirtualWorker:
    """One worker process.

    Attributes:
        member: whether the group counts it as one of its own.
        dead: whether it has crashed.
    """

    def __init__(self, world: Surroundings, name: str) -> None:
        self.machine = Machine(name)
        self.name = name
        self.member = False
        self.dead = False
        self.clock = WorkersClock(world.clock, world.random, world.chances.late)
        self.log = LogPort(self.machine, world.network, world.broker, world.topics, self.clock)
        self._world = world
        context = LaneContext(
            store=StorePort(self.machine, world.network, world.database),
            outputs=self.log,
            reader=self.log,
            offset_range=self.log.offset_range,
            clock=self.clock,
            random=world.random,
            metrics=_METRICS,
            unreadable=UnreadableBatches(),
            settings=LaneSettings(
                partitions=world.partitions, reply_prefix=reply_channel("sleep", ""), deadletter_max_ratio=0.5
            ),
        )
        self.lanes = LaneManager(context)
        self._positions: dict[int, int] = {}
        self._sought: set[int] = set()
        self._fetched: asyncio.Queue[tuple[int, FetchedBatch]] = asyncio.Queue()
        self.tasks = [self._start(self._fetch()), self._start(self._feed())]

    def _start(self, coroutine: "asyncio.Future[None] | object") -> "asyncio.Task[None]":
        task: asyncio.Task[None] = self.machine.context.run(asyncio.ensure_future, coroutine)  # type: ignore[arg-type]
        return task

    def assign(self, partition: int) -> None:
        """Own a partition from now on."""
        self.machine.context.run(self.lanes.assign, [partition])

    def revoke(self, partitions: list[int]) -> "asyncio.Task[None]":
        """Own these partitions no longer, once the task that is returned is done."""
        return self._start(self._revoke(partitions))

    async def _revoke(self, partitions: list[int]) -> None:
        # One by one, since several that are late would be cancelled in the order of their addresses in memory.
        await asyncio.gather(*(self.lanes.revoke([partition]) for partition in partitions))

    async def _fetch(self) -> None:
        """Fetch what the open lanes want, as `worker.runtime.faust.transport` does."""
        world = self._world
        while True:
            await asyncio.sleep(world.random.choice((0.01, 0.02, 0.05, 0.2, 0.4)))
            asked: dict[int, tuple[Lane, int]] = {}
            for lane in self.lanes:
                if not lane.open:
                    continue
                if (offset := lane.fetch_buffer.take_seek()) is not None:
                    self._positions[lane.partition] = offset
                    self._sought.add(lane.partition)
                log = world.broker.log(world.topics.events, lane.partition)
                if log.read(self._positions[lane.partition], 1):
                    asked[lane.partition] = lane, lane.fetch_buffer.generation
            if not asked:
                continue
            try:
                answer = await world.network.call(
                    self.machine, LOG, "fetch", self._fetching(asked), OutputError, seconds=_FETCH_SECONDS
                )
            except OutputError:
                continue
            for partition, batch in answer.items():
                lane, generation = asked[partition]
                if not batch.records or self.lanes.get(partition) is not lane:
                    continue
                self._positions[partition] = batch.records[-1].offset + 1
                if self._loses(partition):
                    world.trace(f"{self.name} dropped {partition}:{batch.records[0].offset}")
                    continue
                self._fetched.put_nowait((partition, batch._replace(generation=generation)))

    def _loses(self, partition: int) -> bool:
        """Tell whether a fetched batch is lost between consumer and lane.

        The real consumer loses none but together with its lane. What a lane could not notice is left out: the first
        batch after a seek, for which it would take the next, and one that no other follows.
        """
        world = self._world
        first = partition in self._sought
        self._sought.discard(partition)
        # Offsets without records, as a transaction's markers take, may be all that lies behind.
        last = not world.broker.log(world.topics.events, partition).read(self._positions[partition], 1)
        return not (first or last or world.network.calm) and world.random.random() < world.chances.dropped

    def _fetching(self, asked: dict[int, tuple[Lane, int]]) -> Callable[[], dict[int, FetchedBatch]]:
        """Return what the broker does: read a few records of each partition."""
        world = self._world
        wanted = {partition: (self._positions[partition], world.random.choice((1, 3, 10, 500))) for partition in asked}

        def fetching() -> dict[int, FetchedBatch]:
            logs = {partition: world.broker.log(world.topics.events, partition) for partition in wanted}
            return {partition: FetchedBatch(0, logs[partition].read(*wanted[partition])) for partition in wanted}

        return fetching

    async def _feed(self) -> None:
        """Pass batches to the lanes in the order in which they came, as the agent does."""
        world = self._world
        while True:
            partition, batch = await self._fetched.get()
            if world.random.random() < world.chances.slow:
                await asyncio.sleep(world.random.choice((0.01, 0.1, 1.0)))
            self.lanes.offer(partition, batch, _acknowledged)


def _acknowledged() -> None:
    """Nobody commits for the group here: Redis says where to start."""
