"""What is sent to Kafka: in order, whole batches, acknowledged, and the offset after the last."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, NotLeaderForPartitionError, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import MemoryRecords
from aiokafka.structs import TopicPartition

from tests.support.fakes import settle
from tests.support.settings import settings_of
from worker.adapters.kafka_producer import KafkaOutputs
from worker.ports import Output, OutputError

SETTINGS = settings_of()


def _ack(offset: int) -> SimpleNamespace:
    return SimpleNamespace(offset=offset, timestamp=1, timestamp_type=0)


class _Producer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka ships no types
    """aiokafka's producer, whose batches go into lists; a gate may keep their acknowledgements back."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.options = options
        self.logs: dict[tuple[str, int], list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]] = {}
        self.batches: list[int] = []
        self.failure: Exception | None = None
        self.failures: list[Exception] = []
        self.gate: asyncio.Future[None] | None = None
        self.started = False
        self.client = SimpleNamespace(fetch_all_metadata=self._fetch, close=self._nothing)

    async def start(self) -> None:
        self.started = True

    async def _nothing(self) -> None:
        """The client's end."""

    async def _fetch(self) -> None:
        if self.failure is not None:
            await asyncio.get_running_loop().create_future()

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1, 2} if topic == "sleep.deadletter" else set(range(8))

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
            return future
        if self.failures:
            future.set_exception(self.failures.pop())
            return future
        log = self.logs.setdefault((topic, partition), [])
        offset = len(log)
        records = MemoryRecords(bytes(batch._build())).next_batch()  # noqa: SLF001 - as aiokafka's own sender does
        log += [(record.key, record.value, list(record.headers)) for record in records]
        self.batches.append(len(log) - offset)
        if self.gate is None:
            future.set_result(_ack(offset))
        else:
            self.gate.add_done_callback(lambda _: future.set_result(_ack(offset)))
        return future


@pytest.fixture
async def outputs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaOutputs]:
    """The outputs on a producer that connects to nothing."""
    monkeypatch.setattr("worker.adapters.kafka_producer.AIOKafkaProducer", _Producer)
    outputs_ = KafkaOutputs(SETTINGS)
    yield outputs_
    await outputs_.stop()


def producer_of(outputs: KafkaOutputs) -> _Producer:
    """Return the producer behind the outputs."""
    producer = outputs._producer  # noqa: SLF001 - the fake stands at this boundary
    assert isinstance(producer, _Producer)
    return producer


async def test_nothing_counts_before_all_replicas_have_it_and_nothing_twice(outputs: KafkaOutputs) -> None:
    """What the outcome of a batch rests on."""
    options = producer_of(outputs).options
    assert (options["acks"], options["enable_idempotence"]) == ("all", True)
    assert options["request_timeout_ms"] == 10_000
    assert options["bootstrap_servers"] == "kafka:9092"
    await outputs.start()
    assert producer_of(outputs).started


async def test_records_are_appended_in_order_and_the_next_offset_is_returned(outputs: KafkaOutputs) -> None:
    """Tombstones and headers included."""
    assert await outputs.send("sleep.states", 2, [Output(b"a", b"1"), Output(b"b", b"2")]) == 2
    assert await outputs.send("sleep.states", 2, [Output(b"a", None, (("sleep.position", b"2:7"),))]) == 3
    assert producer_of(outputs).logs == {
        ("sleep.states", 2): [(b"a", b"1", []), (b"b", b"2", []), (b"a", None, [("sleep.position", b"2:7")])]
    }


async def test_nothing_to_send_is_no_request(outputs: KafkaOutputs) -> None:
    """And no offset."""
    assert await outputs.send("sleep.states", 0, []) is None
    assert producer_of(outputs).batches == []


async def test_what_fits_no_batch_goes_in_several_and_in_order(outputs: KafkaOutputs) -> None:
    """Kafka refuses a batch of more than a megabyte."""
    records = [Output(str(number).encode(), b"x" * 100_000) for number in range(25)]
    assert await outputs.send("sleep.states", 0, records) == 25
    producer = producer_of(outputs)
    assert producer.batches == [9, 9, 7]
    assert [key for key, _, _ in producer.logs["sleep.states", 0]] == [record.key for record in records]


async def test_a_record_that_fits_no_batch_is_refused_by_name(outputs: KafkaOutputs) -> None:
    """Rather than tried for ever."""
    refused = r"a record for sleep\.states makes a batch of 1050\d+ bytes, more than 1048588"
    with pytest.raises(ValueError, match=refused):
        await outputs.send("sleep.states", 0, [Output(b"a", b"1"), Output(b"big", b"x" * 1_050_000)])


async def test_a_record_that_is_not_acknowledged_is_an_error(outputs: KafkaOutputs) -> None:
    """The lane decides what to do about it."""
    producer_of(outputs).failure = KafkaTimeoutError("no answer")
    with pytest.raises(OutputError, match="no answer"):
        await outputs.send("sleep.states", 0, [Output(b"a", b"1")])


async def test_what_fails_is_told_when_nothing_is_under_way_any_more(outputs: KafkaOutputs) -> None:
    """A later batch would overtake what is sent again."""
    producer = producer_of(outputs)
    producer.failures, producer.gate = [KafkaTimeoutError("no leader")], asyncio.get_running_loop().create_future()
    records = [Output(str(number).encode(), b"x" * 100_000) for number in range(15)]
    sending = asyncio.create_task(outputs.send("sleep.states", 0, records))
    await settle()
    assert producer.batches == [6]
    assert not sending.done()
    producer.gate.set_result(None)
    with pytest.raises(OutputError, match="no leader"):
        await sending


async def test_records_that_nobody_acknowledges_are_found_out_though_a_broker_answers(
    outputs: KafkaOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader without its replicas takes none, and aiokafka tries for ever."""
    producer = producer_of(outputs)
    producer.gate = asyncio.get_running_loop().create_future()
    sending = asyncio.create_task(outputs.send("sleep.states", 0, [Output(b"a", b"1")]))
    await settle()
    await outputs.ping()
    monkeypatch.setattr("worker.adapters.kafka_producer.UNACKNOWLEDGED_SECONDS", 0.0)
    with pytest.raises(OutputError, match="have not been acknowledged"):
        await outputs.ping()
    producer.gate.set_result(None)
    await sending
    await outputs.ping()


@pytest.mark.parametrize(
    ("failure", "kept"), [(NotLeaderForPartitionError(), True), (TopicAuthorizationFailedError("sleep.states"), False)]
)
async def test_after_a_refusal_the_producer_takes_a_new_id_and_counts_anew(
    outputs: KafkaOutputs, failure: OutputError, *, kept: bool
) -> None:
    """Aiokafka has counted what was refused, so the broker would take nothing more; a retry counts nothing twice."""
    at = TopicPartition("sleep.states", 0)
    manager = producer_of(outputs)._txn_manager  # noqa: SLF001 - nothing public shows it
    manager.set_pid_and_epoch(7, 0)
    manager.increment_sequence_number(at, 5)
    producer_of(outputs).failures = [failure]
    with pytest.raises(OutputError):
        await outputs.send("sleep.states", 0, [Output(b"a", b"1")])
    assert (manager.has_pid(), manager.sequence_number(at)) == (kept, 5 if kept else 0)


async def test_dead_letters_are_spread_as_their_sources_are(outputs: KafkaOutputs) -> None:
    """Over as many partitions as their topic has."""
    for partition in (0, 1, 5):
        await outputs.dead_letters(partition, [Output(b"a", b"1")])
    assert sorted(producer_of(outputs).logs) == [("sleep.deadletter", partition) for partition in (0, 1, 2)]


async def test_a_broker_that_answers_is_pinged_without_complaint(outputs: KafkaOutputs) -> None:
    """For /status."""
    await outputs.ping()


async def test_a_broker_that_does_not_answer_is_found_out_in_time(
    outputs: KafkaOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that hangs tells nobody anything."""
    monkeypatch.setattr("worker.adapters.kafka_producer._PING_SECONDS", 0.0)
    producer_of(outputs).failure = KafkaTimeoutError("no answer")
    with pytest.raises(OutputError, match="no broker answers within 0 s"):
        await outputs.ping()
