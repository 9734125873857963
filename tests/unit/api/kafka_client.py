"""A Kafka of fakes behind the clients of the API: a producer, a consumer and the metadata of both."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from api.adapters import kafka_events as publish
from api.adapters.dependency import Dependency
from api.adapters.kafka_events import KafkaEvents
from api.commands.log_time import LogTime
from schemas.names import Topics
from tests.support.times import NOW

TOPIC = "sleep.events"
STATES = "sleep.states"


class FakeMetadata:
    """A cluster's metadata: topics and their number of partitions."""

    def __init__(self, topics: dict[str, int]) -> None:
        self.topics = topics

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.topics[topic])) if topic in self.topics else None


class FakeClient:
    """The metadata side of a producer. Each answer to a question is taken from `world`."""

    def __init__(self, world: dict[str, int]) -> None:
        self.world = world
        self.cluster = FakeMetadata({})
        self.answers: list[Any] = []
        self.closed = False

    async def fetch_all_metadata(self) -> FakeMetadata:
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        if not answer:
            raise KafkaError
        return FakeMetadata(dict(self.world))

    async def set_topics(self, topics: list[str]) -> None:
        self.cluster.topics = {topic: self.world[topic] for topic in topics}

    async def force_metadata_update(self) -> bool:
        self.cluster.topics = dict(self.world)
        return True

    async def close(self) -> None:
        self.closed = True


class FakeSender:
    """The part of a producer that sends, as long as the producer works."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class FakeProducer:
    """A producer whose `send` gives `acked`, or raises `refused`."""

    def __init__(self, world: dict[str, int]) -> None:
        self.client = FakeClient(world)
        self._sender = FakeSender()
        self.acked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.refused: Exception | None = None
        self.sent: list[dict[str, Any]] = []
        # What becomes of a partition's batch: an ack, an error after it was handed over, None for silence, or a
        # TimeoutError where it could not even be handed over.
        self.partitions: dict[int, Any] = {}
        self.batches: list[tuple[str, int, BatchBuilder]] = []
        self.unreachable: Exception | None = None
        self.stopped = False
        self.hangs = False

    @property
    def sender(self) -> FakeSender:
        return self._sender

    async def start(self) -> None:
        if self.unreachable is not None:
            raise self.unreachable

    async def stop(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        self.stopped = True

    async def send(self, topic: str, value: bytes, **options: object) -> "asyncio.Future[Any]":
        if self.refused is not None:
            raise self.refused
        self.sent.append({"topic": topic, "value": value} | options)
        return self.acked

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(publish.BATCH_BYTES, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[Any]":
        outcome = self.partitions.get(partition, ack(7))
        if isinstance(outcome, TimeoutError):
            raise outcome
        self.batches.append((topic, partition, batch))
        acked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if isinstance(outcome, Exception):
            acked.set_exception(outcome)
        elif outcome is not None:
            acked.set_result(outcome)
        return acked


class FakeConsumer:
    """An aiokafka consumer that knows the ends of partitions."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.stopped = False
        self.start_offset = self.stated = 0

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.stopped = True

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.failure is not None:
            raise self.failure
        return dict.fromkeys(partitions, self.start_offset)

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.failure is not None:
            raise self.failure
        return {
            partition: self.stated if partition.topic == STATES else 10 + partition.partition
            for partition in partitions
        }


class FakeKafka:
    """A running `KafkaEvents` and what is behind it."""

    def __init__(self, world: dict[str, int]) -> None:
        self.producer, self.consumer = FakeProducer(world), FakeConsumer()
        self.dependency = Dependency("kafka")
        self.log_time = LogTime(lambda: 0, lambda: 0)
        self.events = KafkaEvents(
            Topics.of("sleep"), 4, lambda: self.producer, lambda: self.consumer, self.dependency, self.log_time
        )
        self.running = asyncio.ensure_future(self.events.run())

    async def settle(self) -> None:
        """Let the task run until it waits for something."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


def ack(offset: int) -> SimpleNamespace:
    """Return what a broker answers when it has appended a batch."""
    return SimpleNamespace(offset=offset, partition=3, timestamp=NOW, timestamp_type=1)
