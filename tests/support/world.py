"""Lanes in a world of fakes: whole workers without Kafka and Redis, in a time that a test moves.

async with World() as world:
lane = world.assign(0)
world.log(breaker("acme", "open"))
await world.run()          # until nothing more happens at this moment
await world.advance(900)   # seconds pass, and every sleeper wakes at its own time
"""

import asyncio
import random
from typing import Final, Self

from schemas.names import Topics, reply_channel
from tests.support.fakes import FakeClock, FakeKafka, FakeLog, FakeOutputs, FakeReader, FakeStore, Faults, settle
from tests.support.redis_contents import StoredPartition
from worker.metrics import Metrics
from worker.partition.context import LaneContext, LaneSettings
from worker.partition.fetch_buffer import FetchedBatch
from worker.partition.lane import Lane
from worker.partition.manager import LaneManager
from worker.ports import Output, OutputError
from worker.runtime.unreadable_batches import UnreadableBatches

REPLY_TO: Final = "sleep:reply:018f3a52-7c1d-7b52-9a64-3f1f9d3c2a10"


class FakeConsumer:
    """Feeds lanes from the log as `worker.runtime.faust.transport` does: seek, then fetch what the open lanes want."""

    def __init__(self, lanes: LaneManager, kafka: FakeKafka, topic: str, most: int = 2_000) -> None:
        self.most = most
        self.acknowledged = 0
        self._lanes = lanes
        self._kafka = kafka
        self._topic = topic
        self._positions: dict[int, int] = {}

    def poll(self) -> int:
        """Fetch once, hand over at most one batch a lane, and return the number of records."""
        fetched = 0
        for lane in self._lanes:
            if lane.open:
                fetched += self._poll(lane)
        return fetched

    def _poll(self, lane: Lane) -> int:
        partition = lane.partition
        if (offset := lane.fetch_buffer.take_seek()) is not None:
            self._positions[partition] = offset
        records = self._kafka.log(self._topic, partition).read(self._positions[partition], self.most)
        if records:
            self._positions[partition] = records[-1].offset + 1
            self._lanes.offer(partition, FetchedBatch(lane.fetch_buffer.generation, records), self._acknowledge)
        return len(records)

    def lose(self, partition: int, count: int) -> None:
        """Pass over records that were fetched and never handed over."""
        self._positions[partition] += count

    def fetched(self, partition: int, generation: int) -> FetchedBatch:
        """Return what a fetch under some generation finds."""
        records = self._kafka.log(self._topic, partition).read(self._positions[partition], self.most)
        return FetchedBatch(generation, records)

    def _acknowledge(self) -> None:
        self.acknowledged += 1


class FakeWorker:
    """One worker process in a world: its lanes, and the consumer that feeds them."""

    def __init__(self, world: "World") -> None:
        self.metrics = Metrics()
        self.lanes = LaneManager(world.context(self.metrics))
        self.consumer = FakeConsumer(self.lanes, world.kafka, world.topics.events)


class World:
    """Everything together, with one worker; more join with `join`.

    Args:
        partitions: how many the topics have.
        seed: of the jitter.
        deadletter_max_ratio: the setting of this name.
    """

    def __init__(self, partitions: int = 1, seed: int = 1, deadletter_max_ratio: float = 0.5) -> None:
        self.partitions = partitions
        self.topics = Topics.of("sleep")
        self.clock = FakeClock()
        self.kafka = FakeKafka(self.clock)
        self.store = FakeStore()
        self.outputs = FakeOutputs(self.kafka, self.topics)
        self.reader = FakeReader(self.kafka)
        self.broker = Faults(lambda: OutputError("the broker is away"))
        self._random = random.Random(seed)
        self._ratio = deadletter_max_ratio
        self.workers: list[FakeWorker] = []
        self.worker = self.join()

    def join(self) -> FakeWorker:
        """Add a worker process that owns nothing yet."""
        worker = FakeWorker(self)
        self.workers.append(worker)
        return worker

    def context(self, metrics: Metrics) -> LaneContext:
        """Return what the lanes of one worker share."""
        return LaneContext(
            store=self.store,
            outputs=self.outputs,
            reader=self.reader,
            offset_range=self.offset_range,
            clock=self.clock,
            random=self._random,
            metrics=metrics,
            unreadable=UnreadableBatches(),
            settings=LaneSettings(
                partitions=self.partitions, reply_prefix=reply_channel("sleep", ""), deadletter_max_ratio=self._ratio
            ),
        )

    async def offset_range(self, partition: int) -> tuple[int, int]:
        """Return the start and the end of a partition of the events topic; its fault is named `offset_range`."""
        async with self.broker.of("offset_range"):
            log = self.events(partition)
            return log.start, log.end

    def events(self, partition: int = 0) -> FakeLog:
        """Return a partition of the events topic."""
        return self.kafka.log(self.topics.events, partition)

    def states(self, partition: int = 0) -> FakeLog:
        """Return a partition of the states topic."""
        return self.kafka.log(self.topics.states, partition)

    def log(self, *outputs: Output, partition: int = 0, at: int | None = None) -> int:
        """Append events and return the offset after the last."""
        return self.events(partition).append(outputs, at)

    def stored(self, partition: int = 0) -> StoredPartition:
        """Return what the store holds of a partition."""
        return self.store.partitions[partition]

    def assign(self, partition: int = 0) -> Lane:
        """Give a partition to the first worker and return its lane."""
        self.worker.lanes.assign([partition])
        lane = self.worker.lanes.get(partition)
        assert lane is not None
        return lane

    async def run(self) -> None:
        """Let all tasks run until nothing more happens at this moment."""
        await settle()
        while sum(worker.consumer.poll() for worker in self.workers):
            await settle()

    async def advance(self, seconds: float) -> None:
        """Let time pass. Each task that sleeps wakes at its own time, and runs until it waits again."""
        until = self.clock.now() + round(seconds * 1000)
        await self.run()
        while self.clock.wake(until):
            await self.run()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End every lane of every worker, whatever the test has made unavailable."""
        for faults in (self.store.faults, self.outputs.faults, self.reader.faults, self.broker):
            faults.heal()
        await self.end()

    async def end(self) -> None:
        """End every lane of every worker; time passes until they have."""
        ending = asyncio.gather(*(worker.lanes.end() for worker in self.workers))
        while not ending.done():
            await self.advance(1)
        await ending
