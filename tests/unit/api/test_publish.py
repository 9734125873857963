"""The events topic behind a fake aiokafka."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    OutOfOrderSequenceNumber,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from aiokafka.record.default_records import DefaultRecordBatch

from api.adapters import kafka_events as publish
from api.adapters.dependency import Dependency, UnavailableError
from api.adapters.kafka_events import BrokenProducerError, EventRecord, KafkaEvents, OutcomeUnknownError
from api.commands.log_time import LogTime
from tests.support.settings import settings_of
from tests.support.times import NOW
from tests.unit.api.kafka_client import (
    TOPIC,
    FakeKafka,
    ack,
)


@pytest.fixture
async def kafka() -> AsyncIterator[FakeKafka]:
    """A cluster that has the topic, connected."""
    made = FakeKafka({TOPIC: 4})
    await made.settle()
    yield made
    await made.end()


async def test_a_record_is_published_on_its_partition(kafka: FakeKafka) -> None:
    """With the key and the structured headers, and its offset comes back."""
    kafka.producer.acked.set_result(ack(42))
    assert await kafka.events.publish(3, b"acme", b"{}") == 42
    assert kafka.log_time.now() == NOW, "the acknowledgement tells the log's time"
    [sent] = kafka.producer.sent
    assert (sent["topic"], sent["key"], sent["value"], sent["partition"]) == (TOPIC, b"acme", b"{}", 3)
    assert isinstance(sent["headers"], list), "aiokafka takes nothing else"
    assert dict(sent["headers"])["content-type"].startswith(b"application/cloudevents+json")
    assert (kafka.dependency.up, kafka.dependency.finding) == (True, "sleep.events has 4 partitions")


async def test_an_ack_without_an_offset_is_an_ack(kafka: FakeKafka) -> None:
    """The broker had the record already."""
    kafka.producer.acked.set_result(ack(-1))
    assert await kafka.events.publish(3, b"acme", b"{}") is None


@pytest.mark.parametrize("refused", [KafkaConnectionError("gone"), TimeoutError()])
async def test_a_record_that_was_not_handed_over_is_not_published(kafka: FakeKafka, refused: Exception) -> None:
    """Nobody needs to wonder."""
    kafka.producer.refused = refused
    with pytest.raises(UnavailableError, match="kafka"):
        await kafka.events.publish(3, b"acme", b"{}")


async def test_a_record_that_the_broker_refused_is_not_published(kafka: FakeKafka) -> None:
    """And the producer is still good."""
    kafka.producer.acked.set_exception(TopicAuthorizationFailedError(TOPIC))
    with pytest.raises(UnavailableError, match="TopicAuthorizationFailed"):
        await kafka.events.publish(3, b"acme", b"{}")
    await kafka.settle()
    assert not kafka.running.done()


async def test_an_ack_that_does_not_come_is_an_unknown_outcome(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
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


async def test_a_record_that_failed_on_its_way_is_an_unknown_outcome(kafka: FakeKafka) -> None:
    """An attempt before may have arrived; a retriable error leaves the producer."""
    kafka.producer.acked.set_exception(RequestTimedOutError())
    with pytest.raises(OutcomeUnknownError, match="RequestTimedOut"):
        await kafka.events.publish(3, b"acme", b"{}")
    await kafka.settle()
    assert not kafka.running.done()


async def test_a_producer_that_can_never_publish_again_is_replaced(kafka: FakeKafka) -> None:
    """An idempotent producer out of sequence is of no use."""
    kafka.producer.acked.set_exception(OutOfOrderSequenceNumber())
    with pytest.raises(OutcomeUnknownError):
        await kafka.events.publish(3, b"acme", b"{}")
    with pytest.raises(BrokenProducerError, match="OutOfOrderSequenceNumber"):
        await kafka.running
    assert (kafka.producer.stopped, kafka.consumer.stopped) == (True, True)


BATCHES = {1: [EventRecord(b"a", b"1"), EventRecord(b"b", b"2"), EventRecord(b"a", b"3")], 2: [EventRecord(b"c", b"4")]}


async def test_records_of_one_partition_are_one_record_batch(kafka: FakeKafka) -> None:
    """In their order, with the structured headers; Kafka appends it whole or not at all."""
    await kafka.events.publish_all(BATCHES)
    seen = {}
    for topic, partition, batch in kafka.producer.batches:
        assert (topic, batch.closed()) == (TOPIC, True)
        records = list(DefaultRecordBatch(bytes(batch._build())))  # noqa: SLF001 - what goes over the wire
        assert all(dict(record.headers)["content-type"].startswith(b"application/cloudevents") for record in records)
        seen[partition] = [EventRecord(record.key, record.value) for record in records]
    assert seen == BATCHES


async def test_no_records_are_published_without_a_word(kafka: FakeKafka) -> None:
    """An empty batch has nothing that could fail; Kafka away is told all the same."""
    await kafka.events.publish_all({})
    kafka.dependency.mark_down("gone")
    with pytest.raises(UnavailableError, match="gone"):
        await kafka.events.publish_all({})
    assert kafka.producer.batches == []


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ({1: TimeoutError()}, "TimeoutError"),
        ({1: TopicAuthorizationFailedError(TOPIC), 2: TopicAuthorizationFailedError(TOPIC)}, "TopicAuthorization"),
    ],
)
async def test_where_every_partition_said_no_nothing_is_published(
    kafka: FakeKafka, outcomes: dict[int, Any], message: str
) -> None:
    """That is certain, so that it can be told."""
    kafka.producer.partitions = outcomes
    with pytest.raises(UnavailableError, match=message):
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
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch, outcomes: dict[int, Any]
) -> None:
    """Whatever became of the other: nobody may be told that nothing was published."""
    monkeypatch.setattr(publish, "PRODUCE_SECONDS", 0.05)
    kafka.producer.partitions = outcomes
    with pytest.raises(OutcomeUnknownError):
        await kafka.events.publish_all(BATCHES)


async def test_records_that_make_too_large_a_batch_are_not_published_in_part(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are those of other partitions."""
    monkeypatch.setattr(publish, "BATCH_BYTES", 400)
    with pytest.raises(UnavailableError, match="MessageSizeTooLarge"):
        await kafka.events.publish_all({2: BATCHES[2], 1: [EventRecord(b"a", b"x" * 300)] * 2})
    assert kafka.producer.batches == []


async def test_brokers_that_do_not_answer_are_noticed_and_found_again(kafka: FakeKafka) -> None:
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
    kafka = FakeKafka({TOPIC: 8})
    await kafka.settle()
    with pytest.raises(UnavailableError, match="has 8 partitions and SLEEP_PARTITIONS is 4"):
        await kafka.events.publish(3, b"acme", b"{}")
    await kafka.end()


async def test_a_topic_that_does_not_exist_is_not_made() -> None:
    """It is looked for among all topics, and found when it comes."""
    world: dict[str, int] = {}
    kafka = FakeKafka(world)
    await kafka.settle()
    assert "is missing, or an ACL hides it; run `sleepctl topics create`" in kafka.dependency.finding
    world[TOPIC] = 4
    kafka.events._look.set()  # noqa: SLF001 - as time does
    await kafka.settle()
    assert kafka.dependency.up
    await kafka.end()


async def test_a_broker_that_acknowledges_with_no_time_sets_none(kafka: FakeKafka) -> None:
    """The embedded one says 1234."""
    kafka.producer.acked.set_result(SimpleNamespace(offset=1, partition=3, timestamp=1234, timestamp_type=1))
    assert await kafka.events.publish(3, b"acme", b"{}") == 1
    assert (kafka.log_time.now(), kafka.log_time.not_after(3)) == (0, 30_000)
    assert kafka.log_time.finding() is None


async def test_the_ends_of_all_partitions_are_known(kafka: FakeKafka) -> None:
    """From a consumer without a group."""
    assert await kafka.events.ends() == {0: 10, 1: 11, 2: 12, 3: 13}
    kafka.consumer.failure = KafkaError("gone")
    with pytest.raises(UnavailableError, match="gone"):
        await kafka.events.ends()


@pytest.mark.parametrize(("start", "stated", "untouched"), [(0, 0, True), (7, 0, False), (0, 3, False)])
async def test_a_partition_with_a_complete_log_and_no_states_is_untouched(
    kafka: FakeKafka,
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
    kafka = FakeKafka({})
    kafka.producer.unreachable = KafkaConnectionError("refused")
    with pytest.raises(KafkaConnectionError):
        await kafka.running
    assert kafka.producer.stopped


async def test_a_producer_that_does_not_stop_is_ended(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches would wait for a broker for ever."""
    monkeypatch.setattr(publish, "CLOSE_SECONDS", 0)
    kafka.producer.hangs = True
    await kafka.end()
    assert (kafka.producer.sender.closed, kafka.producer.client.closed) == (True, True)


async def test_the_settings_make_an_idempotent_producer() -> None:
    """With acks of all replicas, and no group."""
    settings = settings_of(partitions=3)
    seen: dict[str, Any] = {}

    def remember(name: str) -> Callable[..., Any]:
        def make(**options: object) -> str:
            seen[name] = options
            return name

        return make

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "AIOKafkaProducer", remember("producer"))
        patch.setattr(publish, "AIOKafkaConsumer", remember("consumer"))
        events = KafkaEvents.of(settings, Dependency("kafka"), LogTime(lambda: 0))
        events._make_producer()  # noqa: SLF001 - the factories are what is made of the settings
        events._make_consumer()  # noqa: SLF001 - as above
    assert (seen["producer"]["acks"], seen["producer"]["enable_idempotence"]) == ("all", True)
    assert seen["producer"]["request_timeout_ms"] == 4000
    assert seen["consumer"]["group_id"] is None
    assert seen["consumer"]["bootstrap_servers"] == "kafka:9092"
