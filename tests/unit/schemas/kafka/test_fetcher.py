"""The place where aiokafka's fetcher reads our way, and the private names that it stands on."""
# ruff: noqa: SLF001 - that is what this is about

import inspect
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords

from schemas.kafka.fetcher import AnyBytesConsumer, read_any_bytes
from schemas.kafka.source_record import Unreadable
from tests.support.fetch_answers import TP
from tests.support.raw_batches import RawBatch, RawRecord, numbered


def test_aiokafka_has_the_names_that_we_use() -> None:
    """An update that changes one of them fails here."""
    names = Fetcher._proc_fetch_request.__code__.co_names
    assert {"MemoryRecords", "PartitionRecords", "FetchResult", "has_next", "size_in_bytes"} <= set(names)
    assert {"_partition_records", "_update_position", "check_assignment"} <= set(FetchResult.getall.__code__.co_names)
    assert "getall" in Fetcher.fetched_records.__code__.co_names
    assert list(inspect.signature(PartitionRecords).parameters)[:4] == [
        "tp",
        "records",
        "aborted_transactions",
        "fetch_offset",
    ]
    assert "next_fetch_offset" in PartitionRecords.__init__.__code__.co_names
    assert "_unpack_records" in PartitionRecords.__init__.__code__.co_names
    assert "_fetcher" in AIOKafkaConsumer.start.__code__.co_names


class Answers:
    """aiokafka's fetcher with the answers of a broker in it, and our way of reading them.

    Attributes:
        positions: the next offset of each partition.
    """

    def __init__(self) -> None:
        self._states: dict[TopicPartition, SimpleNamespace] = {}
        self._assignment = SimpleNamespace(active=True, state_value=self._states.__getitem__)
        self.fetcher = fetcher = Fetcher.__new__(Fetcher)
        subscription = SimpleNamespace(assignment=self._assignment)
        vars(fetcher).update(
            _subscriptions=SimpleNamespace(subscription=subscription, reassignment_in_progress=False),
            _records=OrderedDict(), _key_deserializer=None, _value_deserializer=None, _check_crcs=True,
            _isolation_level=0, _prefetch_backoff=0, _client_rack=None, _wait_consume_future=None,
        )  # fmt: skip
        read_any_bytes(SimpleNamespace(_fetcher=fetcher))

    @property
    def positions(self) -> dict[TopicPartition, int]:
        return {tp: state.position for tp, state in self._states.items()}

    async def answer(self, tp: TopicPartition, raw: bytes) -> bool:
        """Take what a broker answers of a partition."""
        state = self._states[tp] = SimpleNamespace(has_valid_position=True, position=0, paused=False)
        state.consumed_to = lambda position: setattr(state, "position", position)
        parts: list[Any] = [(tp.partition, 0, 10_000, 10_000, 0, [], raw)]

        async def send(*_: object) -> Any:  # noqa: ANN401 - aiokafka's
            return SimpleNamespace(API_VERSION=5, topics=[(tp.topic, parts)])

        self.fetcher._client = SimpleNamespace(send=send)
        request = SimpleNamespace(topics=[(tp.topic, [(tp.partition, 0, 1_000)])])
        return bool(await self.fetcher._proc_fetch_request(self._assignment, 0, request))

    async def take(self, max_records: int | None = None) -> dict[TopicPartition, list[Any]]:
        """Return what consumers get next."""
        seen: dict[TopicPartition, list[Any]] = await self.fetcher.fetched_records(list(self._states), 0, max_records)
        return seen


async def fetched(raw: bytes) -> list[Any]:
    """Return what aiokafka's own way from an answer to its records makes of these bytes."""
    answers = Answers()
    assert await answers.answer(TP, raw) == bool(raw)
    seen = (await answers.take()).get(TP, [])
    assert answers.positions[TP] == len(seen)
    return seen


async def test_an_answer_goes_through_aiokafka_to_our_reader() -> None:
    """And the position moves on as it always does."""
    batch = RawBatch(numbered([RawRecord(b"a"), RawRecord(b"b"), RawRecord(b"c")]))
    batch.records[2].headers = [(b"\xff", b"x")]
    result = await fetched(batch.encode())
    assert [record.value for record in result] == [b"a", b"b", b"c"]
    assert [isinstance(record, Unreadable) for record in result] == [False, False, True]


async def test_an_empty_answer_is_nothing() -> None:
    """Nobody is woken up for it."""
    assert await fetched(b"") == []


async def test_a_consumer_of_ours_reads_so_once_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its options are."""
    fetcher = Fetcher.__new__(Fetcher)

    async def start(consumer: AIOKafkaConsumer) -> None:
        consumer._fetcher = fetcher

    monkeypatch.setattr(AIOKafkaConsumer, "start", start)
    consumer = AnyBytesConsumer()
    await consumer.start()
    assert "_proc_fetch_request" in vars(fetcher)
    consumer._fetcher = None
    await consumer.stop()


async def test_what_is_handed_over_at_a_time_is_bounded_in_bytes() -> None:
    """A few kilobytes of an answer may expand to 32 MiB, and the next ones too."""
    answers, count = Answers(), 40
    batch = RawBatch(numbered([RawRecord(bytes(200_000), b"k", [(b"h", bytes(100_000))])] * count), codec=1)
    await answers.answer(TP, batch.encode())
    sizes = []
    while seen := (await answers.take(2_000)).get(TP, []):
        sizes.append(len(seen))
        assert answers.positions[TP] == sum(sizes)
    assert (sum(sizes), max(sizes)) == (count, 4)


async def test_a_partition_of_which_much_is_left_does_not_keep_the_others_waiting() -> None:
    """Each has its turn, in whatever order their answers came."""
    answers, other = Answers(), TopicPartition(TP.topic, 1)
    flood = RawBatch(numbered([RawRecord(b"x")] * 10_000)).encode()
    await answers.answer(TP, flood)
    await answers.answer(other, RawBatch([RawRecord(b"y")]).encode())
    first, second, third = [await answers.take(2_000) for _ in range(3)]
    assert [len(first.get(TP, [])), first.get(other)] == [2_000, None]
    assert [record.value for record in second[other]] == [b"y"]
    assert len(second[TP]) == 1_999
    assert len(third[TP]) == 2_000


async def test_of_the_batches_that_partitions_have_expanded_few_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is let go is read once more behind its last record that was taken; nothing is lost or doubled."""
    monkeypatch.setattr("schemas.kafka.fetcher._MOST_EXPANDED_BYTES", 100_000)
    answers, count = Answers(), 5_000
    partitions = [TopicPartition(TP.topic, number) for number in range(6)]
    raw = b"".join(
        RawBatch(numbered([RawRecord(b"%d" % (base + number)) for number in range(size)]), base, codec=1).encode()
        for base, size in ((0, 3), (3, count), (count + 3, 2))
    )
    for tp in partitions:
        await answers.answer(tp, raw)
    seen: dict[TopicPartition, list[Any]] = {}
    memory = vars(answers.fetcher)["_records"][TP]._partition_records._memory
    while batch := await answers.take(700):
        for tp, records in batch.items():
            seen.setdefault(tp, []).extend(record.value for record in records)
        assert sum(memory._taken.values()) <= 100_000
    assert seen == {key: [b"%d" % number for number in range(count + 5)] for key in partitions}
