"""What is sent to Kafka: in order, whole batches, acknowledged, and the offset after the last."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import MemoryRecords

from schemas.settings import Settings
from tests.fakes import settle
from worker.outputs import Outputs
from worker.ports import Output, OutputError

SETTINGS = Settings.model_validate({"kafka_bootstrap": "kafka:9092", "redis_url": "redis://redis"})


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
        return {0, 1, 2} if topic == "sleep.deadletter" else set()

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
            future.set_result(SimpleNamespace(offset=offset))
        else:
            self.gate.add_done_callback(lambda _: future.set_result(SimpleNamespace(offset=offset)))
        return future


@pytest.fixture
async def outputs(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outputs]:
    """The outputs on a producer that connects to nothing."""
    monkeypatch.setattr("worker.outputs.AIOKafkaProducer", _Producer)
    found = Outputs(SETTINGS)
    yield found
    await found.stop()


def producer_of(outputs: Outputs) -> _Producer:
    """Return the producer behind the outputs."""
    producer = outputs._producer  # noqa: SLF001 - the fake stands at this boundary
    assert isinstance(producer, _Producer)
    return producer


async def test_nothing_counts_before_all_replicas_have_it_and_nothing_twice(outputs: Outputs) -> None:
    """What the outcome of a batch rests on."""
    options = producer_of(outputs).options
    assert (options["acks"], options["enable_idempotence"]) == ("all", True)
    assert options["request_timeout_ms"] == 10_000
    assert options["bootstrap_servers"] == "kafka:9092"
    await outputs.start()
    assert producer_of(outputs).started


async def test_records_are_appended_in_order_and_the_offset_after_the_last_is_returned(outputs: Outputs) -> None:
    """Tombstones and headers included."""
    assert await outputs.send("sleep.states", 2, [Output(b"a", b"1"), Output(b"b", b"2")]) == 2
    assert await outputs.send("sleep.states", 2, [Output(b"a", None, (("sleep.position", b"2:7"),))]) == 3
    assert producer_of(outputs).logs == {
        ("sleep.states", 2): [(b"a", b"1", []), (b"b", b"2", []), (b"a", None, [("sleep.position", b"2:7")])]
    }


async def test_nothing_to_send_is_no_request(outputs: Outputs) -> None:
    """And no offset."""
    assert await outputs.send("sleep.states", 0, []) is None
    assert producer_of(outputs).batches == []


async def test_what_fits_no_batch_goes_in_several_and_in_order(outputs: Outputs) -> None:
    """Kafka refuses a batch of more than a megabyte."""
    records = [Output(str(number).encode(), b"x" * 100_000) for number in range(25)]
    assert await outputs.send("sleep.states", 0, records) == 25
    producer = producer_of(outputs)
    assert producer.batches == [9, 9, 7]
    assert [key for key, _, _ in producer.logs["sleep.states", 0]] == [record.key for record in records]


async def test_a_record_that_fits_no_batch_is_refused_by_name(outputs: Outputs) -> None:
    """Rather than tried for ever."""
    refused = r"a record for sleep\.states makes a batch of 1050\d+ bytes, more than 1048588"
    with pytest.raises(ValueError, match=refused):
        await outputs.send("sleep.states", 0, [Output(b"a", b"1"), Output(b"big", b"x" * 1_050_000)])


async def test_a_record_that_is_not_acknowledged_is_an_error(outputs: Outputs) -> None:
    """The lane decides what to do about it."""
    producer_of(outputs).failure = KafkaTimeoutError("no answer")
    with pytest.raises(OutputError, match="no answer"):
        await outputs.send("sleep.states", 0, [Output(b"a", b"1")])


async def test_what_fails_is_told_when_nothing_is_under_way_any_more(outputs: Outputs) -> None:
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
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader without its replicas takes none, and aiokafka tries for ever."""
    producer = producer_of(outputs)
    producer.gate = asyncio.get_running_loop().create_future()
    sending = asyncio.create_task(outputs.send("sleep.states", 0, [Output(b"a", b"1")]))
    await settle()
    await outputs.ping()
    monkeypatch.setattr("worker.outputs.UNACKNOWLEDGED_SECONDS", 0.0)
    with pytest.raises(OutputError, match="have not been acknowledged"):
        await outputs.ping()
    producer.gate.set_result(None)
    await sending
    await outputs.ping()


async def test_dead_letters_are_spread_as_their_sources_are(outputs: Outputs) -> None:
    """Over as many partitions as their topic has."""
    for partition in (0, 1, 5):
        await outputs.dead_letters(partition, [Output(b"a", b"1")])
    assert sorted(producer_of(outputs).logs) == [("sleep.deadletter", partition) for partition in (0, 1, 2)]


async def test_a_broker_that_answers_is_pinged_without_complaint(outputs: Outputs) -> None:
    """For /status."""
    await outputs.ping()


async def test_a_broker_that_does_not_answer_is_found_out_in_time(
    outputs: Outputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that hangs tells nobody anything."""
    monkeypatch.setattr("worker.outputs._PING_SECONDS", 0.0)
    producer_of(outputs).failure = KafkaTimeoutError("no answer")
    with pytest.raises(OutputError, match="no broker answers within 0 s"):
        await outputs.ping()
