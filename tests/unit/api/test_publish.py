"""The events topic behind a fake aiokafka."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    OutOfOrderSequenceNumber,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from api.operate.dependency import Dependency, UnavailableError
from api.publish import log as publish
from api.publish.log import BrokenProducerError, KafkaEvents, OutcomeUnknownError, Published
from schemas.settings import Settings

TOPIC, STATES = "sleep.events", "sleep.states"


class _Metadata:
    """A cluster's metadata: topics and their number of partitions."""

    def __init__(self, topics: dict[str, int]) -> None:
        self.topics = topics

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self.topics[topic])) if topic in self.topics else None


class _Client:
    """The metadata side of a producer. Each answer to a question is taken from `world`."""

    def __init__(self, world: dict[str, int]) -> None:
        self.world = world
        self.cluster = _Metadata({})
        self.answers: list[Any] = []
        self.closed = False

    async def fetch_all_metadata(self) -> _Metadata:
        return _Metadata(dict(self.world))

    async def set_topics(self, topics: list[str]) -> None:
        self.cluster.topics = {topic: self.world[topic] for topic in topics}

    async def force_metadata_update(self) -> bool:
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        self.cluster.topics = dict(self.world)
        return bool(answer)

    async def close(self) -> None:
        self.closed = True


class _Sender:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class _Producer:
    """A producer whose `send` gives `acked`, or raises `refused`."""

    def __init__(self, world: dict[str, int]) -> None:
        self.client = _Client(world)
        self._sender = _Sender()
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
    def sender(self) -> _Sender:
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
        outcome = self.partitions.get(partition, _ack(7))
        if isinstance(outcome, TimeoutError):
            raise outcome
        self.batches.append((topic, partition, batch))
        acked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if isinstance(outcome, Exception):
            acked.set_exception(outcome)
        elif outcome is not None:
            acked.set_result(outcome)
        return acked


class _Consumer:
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


class _Kafka:
    """A running `KafkaEvents` and what is behind it."""

    def __init__(self, world: dict[str, int]) -> None:
        self.producer, self.consumer = _Producer(world), _Consumer()
        self.dependency = Dependency("kafka")
        self.events = KafkaEvents(TOPIC, STATES, 4, lambda: self.producer, lambda: self.consumer, self.dependency)
        self.running = asyncio.ensure_future(self.events.run())

    async def settle(self) -> None:
        """Let the task run until it waits for something."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


@pytest.fixture
async def kafka() -> AsyncIterator[_Kafka]:
    """A cluster that has the topic, connected."""
    made = _Kafka({TOPIC: 4})
    await made.settle()
    yield made
    await made.end()


def _ack(offset: int) -> SimpleNamespace:
    return SimpleNamespace(offset=offset)


async def test_a_record_is_published_on_its_partition(kafka: _Kafka) -> None:
    """With the key and the structured headers, and its offset comes back."""
    kafka.producer.acked.set_result(_ack(42))
    assert await kafka.events.publish(3, b"acme", b"{}") == 42
    [sent] = kafka.producer.sent
    assert (sent["topic"], sent["key"], sent["value"], sent["partition"]) == (TOPIC, b"acme", b"{}", 3)
    assert isinstance(sent["headers"], list), "aiokafka takes nothing else"
    assert dict(sent["headers"])["content-type"].startswith(b"application/cloudevents+json")
    assert (kafka.dependency.up, kafka.dependency.finding) == (True, "sleep.events has 4 partitions")


async def test_an_ack_without_an_offset_is_an_ack(kafka: _Kafka) -> None:
    """The broker had the record already."""
    kafka.producer.acked.set_result(_ack(-1))
    assert await kafka.events.publish(3, b"acme", b"{}") is None


@pytest.mark.parametrize("refused", [KafkaConnectionError("gone"), TimeoutError()])
async def test_a_record_that_was_not_handed_over_is_not_published(kafka: _Kafka, refused: Exception) -> None:
    """Nobody needs to wonder."""
    kafka.producer.refused = refused
    with pytest.raises(UnavailableError, match="kafka"):
        await kafka.events.publish(3, b"acme", b"{}")


async def test_a_record_that_the_broker_refused_is_not_published(kafka: _Kafka) -> None:
    """And the producer is still good."""
    kafka.producer.acked.set_exception(TopicAuthorizationFailedError(TOPIC))
    with pytest.raises(UnavailableError, match="TopicAuthorizationFailed"):
        await kafka.events.publish(3, b"acme", b"{}")
    await kafka.settle()
    assert not kafka.running.done()


async def test_an_ack_that_does_not_come_is_an_unknown_outcome(kafka: _Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the produce timeout; its later failure is nobody's surprise."""
    monkeypatch.setattr(publish, "PRODUCE_SECONDS", 0.0)

    with pytest.raises(OutcomeUnknownError, match="no ack within"):
        await kafka.events.publish(3, b"acme", b"{}")
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    kafka.producer.acked.set_exception(RequestTimedOutError())
    await kafka.settle()
    kafka.producer.acked = asyncio.get_running_loop().create_future()
    gc.collect()
    assert complaints == []


async def test_a_record_that_failed_on_its_way_is_an_unknown_outcome(kafka: _Kafka) -> None:
    """An attempt before may have arrived; a retriable error leaves the producer."""
    kafka.producer.acked.set_exception(RequestTimedOutError())
    with pytest.raises(OutcomeUnknownError, match="RequestTimedOut"):
        await kafka.events.publish(3, b"acme", b"{}")
    await kafka.settle()
    assert not kafka.running.done()


async def test_a_producer_that_can_never_publish_again_is_replaced(kafka: _Kafka) -> None:
    """An idempotent producer out of sequence is of no use."""
    kafka.producer.acked.set_exception(OutOfOrderSequenceNumber())
    with pytest.raises(OutcomeUnknownError):
        await kafka.events.publish(3, b"acme", b"{}")
    with pytest.raises(BrokenProducerError, match="OutOfOrderSequenceNumber"):
        await kafka.running
    assert (kafka.producer.stopped, kafka.consumer.stopped) == (True, True)


BATCHES = {1: [Published(b"a", b"1"), Published(b"b", b"2"), Published(b"a", b"3")], 2: [Published(b"c", b"4")]}


async def test_records_of_one_partition_are_one_record_batch(kafka: _Kafka) -> None:
    """In their order, with the structured headers; Kafka appends it whole or not at all."""
    await kafka.events.publish_all(BATCHES)
    found = {}
    for topic, partition, batch in kafka.producer.batches:
        assert (topic, batch.closed()) == (TOPIC, True)
        records = list(DefaultRecordBatch(bytes(batch._build())))  # noqa: SLF001 - what goes over the wire
        assert all(dict(record.headers)["content-type"].startswith(b"application/cloudevents") for record in records)
        found[partition] = [Published(record.key, record.value) for record in records]
    assert found == BATCHES


async def test_no_records_are_published_without_a_word(kafka: _Kafka) -> None:
    """An empty batch has nothing that could fail; Kafka away is told all the same."""
    await kafka.events.publish_all({})
    kafka.dependency.found_down("gone")
    with pytest.raises(UnavailableError, match="gone"):
        await kafka.events.publish_all({})
    assert kafka.producer.batches == []


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ({1: TimeoutError()}, "TimeoutError"),
        ({1: TopicAuthorizationFailedError(TOPIC), 2: TopicAuthorizationFailedError(TOPIC)}, "TopicAuthorization"),
    ],
)
async def test_where_every_partition_said_no_nothing_is_published(
    kafka: _Kafka, outcomes: dict[int, Any], said: str
) -> None:
    """That is certain, so that it can be told."""
    kafka.producer.partitions = outcomes
    with pytest.raises(UnavailableError, match=said):
        await kafka.events.publish_all(BATCHES)


@pytest.mark.parametrize(
    "outcomes",
    [
        {2: TimeoutError()},
        {1: TopicAuthorizationFailedError(TOPIC)},
        {2: TopicAuthorizationFailedError(TOPIC)},
        {1: RequestTimedOutError()},
        {1: RequestTimedOutError(), 2: RequestTimedOutError()},
        {1: RequestTimedOutError(), 2: TopicAuthorizationFailedError(TOPIC)},
        {1: TopicAuthorizationFailedError(TOPIC), 2: RequestTimedOutError()},
        {1: None},
        {1: None, 2: TimeoutError()},
    ],
)
async def test_where_one_partition_may_have_taken_its_part_the_outcome_is_unknown(
    kafka: _Kafka, monkeypatch: pytest.MonkeyPatch, outcomes: dict[int, Any]
) -> None:
    """Whatever became of the other: nobody may be told that nothing was published."""
    monkeypatch.setattr(publish, "PRODUCE_SECONDS", 0.05)
    kafka.producer.partitions = outcomes
    with pytest.raises(OutcomeUnknownError):
        await kafka.events.publish_all(BATCHES)


async def test_records_that_make_too_large_a_batch_are_not_published_in_part(
    kafka: _Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are those of other partitions."""
    monkeypatch.setattr(publish, "BATCH_BYTES", 400)
    with pytest.raises(UnavailableError, match="MessageSizeTooLarge"):
        await kafka.events.publish_all({2: BATCHES[2], 1: [Published(b"a", b"x" * 300)] * 2})
    assert kafka.producer.batches == []


async def test_brokers_that_do_not_answer_are_noticed_and_found_again(kafka: _Kafka) -> None:
    """With the same producer; meanwhile nothing is handed to it."""
    for answer in (False, KafkaConnectionError("gone"), TimeoutError()):
        kafka.producer.client.answers = [answer]
        kafka.events._look.set()  # noqa: SLF001 - what a doubtful produce does
        await kafka.settle()
        with pytest.raises(UnavailableError):
            await kafka.events.publish(3, b"acme", b"{}")
        with pytest.raises(UnavailableError):
            await kafka.events.ends()
        kafka.events._look.set()  # noqa: SLF001 - as above
        await kafka.settle()
        assert kafka.dependency.up
    assert kafka.producer.sent == []


async def test_a_topic_with_other_partitions_is_not_written_to() -> None:
    """The partition of a tenant would be another one."""
    kafka = _Kafka({TOPIC: 8})
    await kafka.settle()
    with pytest.raises(UnavailableError, match="has 8 partitions and SLEEP_PARTITIONS is 4"):
        await kafka.events.publish(3, b"acme", b"{}")
    await kafka.end()


async def test_a_topic_that_does_not_exist_is_not_made() -> None:
    """It is looked for among all topics, and found when it comes."""
    world: dict[str, int] = {}
    kafka = _Kafka(world)
    await kafka.settle()
    assert "does not exist; run `sleepctl topics create`" in kafka.dependency.finding
    world[TOPIC] = 4
    kafka.events._look.set()  # noqa: SLF001 - as time does
    await kafka.settle()
    assert kafka.dependency.up
    await kafka.end()


async def test_the_ends_of_all_partitions_are_known(kafka: _Kafka) -> None:
    """From a consumer without a group."""
    assert await kafka.events.ends() == {0: 10, 1: 11, 2: 12, 3: 13}
    kafka.consumer.failure = KafkaError("gone")
    with pytest.raises(UnavailableError, match="gone"):
        await kafka.events.ends()


@pytest.mark.parametrize(("start", "stated", "untouched"), [(0, 0, True), (7, 0, False), (0, 3, False)])
async def test_a_partition_is_untouched_while_its_log_is_whole_and_no_state_was_published(
    kafka: _Kafka,
    start: int,
    stated: int,
    untouched: bool,  # noqa: FBT001 - the answer
) -> None:
    """Else somebody may have slept there."""
    kafka.consumer.start_offset, kafka.consumer.stated = start, stated
    assert await kafka.events.untouched(0) is untouched
    kafka.consumer.failure = KafkaError("gone")
    with pytest.raises(UnavailableError, match="gone"):
        await kafka.events.untouched(0)


async def test_brokers_that_cannot_be_reached_leave_nothing_open() -> None:
    """The caller tries again."""
    kafka = _Kafka({})
    kafka.producer.unreachable = KafkaConnectionError("refused")
    with pytest.raises(KafkaConnectionError):
        await kafka.running
    assert kafka.producer.stopped


async def test_a_producer_that_does_not_stop_is_ended(kafka: _Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches would wait for a broker for ever."""
    monkeypatch.setattr(publish, "CLOSE_SECONDS", 0)
    kafka.producer.hangs = True
    await kafka.end()
    assert (kafka.producer.sender.closed, kafka.producer.client.closed) == (True, True)


async def test_the_settings_make_an_idempotent_producer() -> None:
    """With acks of all replicas, and no group."""
    settings = Settings(kafka_bootstrap="kafka:9092", redis_url="redis://r", partitions=3)  # type: ignore[arg-type]
    seen: dict[str, Any] = {}

    def remember(name: str) -> Callable[..., Any]:
        def make(**options: object) -> str:
            seen[name] = options
            return name

        return make

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "AIOKafkaProducer", remember("producer"))
        patch.setattr(publish, "AIOKafkaConsumer", remember("consumer"))
        events = KafkaEvents.of(settings, Dependency("kafka"))
        events._make_producer()  # noqa: SLF001 - the factories are what is made of the settings
        events._make_consumer()  # noqa: SLF001 - as above
    assert (seen["producer"]["acks"], seen["producer"]["enable_idempotence"]) == ("all", True)
    assert seen["producer"]["request_timeout_ms"] == 4000
    assert seen["consumer"]["group_id"] is None
    assert seen["consumer"]["bootstrap_servers"] == "kafka:9092"
