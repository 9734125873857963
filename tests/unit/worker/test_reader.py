"""Looking back into the topics, on a consumer that connects to nothing."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from tests.support.settings import settings_of
from worker.adapters.kafka_reader import KafkaReader
from worker.ports import OutputError, Page, TopicRecord

SETTINGS = settings_of()
TOPIC = "sleep.states"


class _Consumer:
    """aiokafka's consumer over a list of offsets; what it fetches, a poll at a time, is laid out by the test."""

    made: "list[_Consumer]"
    failure: Exception | None
    hangs: bool
    polls: list[list[int]]
    end: int

    def __init__(self, **options: object) -> None:
        self.options = options
        self.steps: list[str | tuple[Any, ...]] = []
        self._position = 0
        self.made.append(self)

    async def start(self) -> None:
        self.steps.append("start")
        if self.failure is not None:
            raise self.failure

    async def stop(self) -> None:
        self.steps.append("stop")

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.steps.append(("assign", *partitions))

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.steps.append(("seek", partition.partition, offset))
        self._position = offset

    def unsubscribe(self) -> None:
        self.steps.append("unsubscribe")

    async def position(self, _: TopicPartition) -> int:
        return self._position

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return {partitions[0]: self.end}

    async def getmany(self, partition: TopicPartition, *, timeout_ms: int, max_records: int) -> dict[Any, Any]:
        assert timeout_ms < 1_000
        await asyncio.sleep(0)
        if not self.polls:
            self._position = self.end
            return {}
        result = self.polls.pop(0)[:max_records]
        if not result:
            return {}
        self._position = result[-1] + 1
        return {
            partition: [SimpleNamespace(offset=n, timestamp=n * 10, key=b"k", value=None, headers=()) for n in result]
        }


@pytest.fixture
async def reader(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KafkaReader]:
    """A reader of a partition with ten offsets."""
    _Consumer.made, _Consumer.failure, _Consumer.hangs = [], None, False
    _Consumer.polls, _Consumer.end = [], 10
    monkeypatch.setattr("worker.adapters.kafka_reader.AnyBytesConsumer", _Consumer)
    made = KafkaReader(SETTINGS)
    yield made
    await made.stop()


async def test_it_belongs_to_no_group_commits_nothing_and_connects_once(reader: KafkaReader) -> None:
    """When it is first asked."""
    assert _Consumer.made == []
    assert await reader.end(TOPIC, 3) == 10
    assert await reader.end(TOPIC, 4) == 10
    [consumer] = _Consumer.made
    assert consumer.options["group_id"] is None
    assert consumer.options["enable_auto_commit"] is False
    assert consumer.options["bootstrap_servers"] == "kafka:9092"
    await reader.stop()
    await reader.stop()
    assert consumer.steps == ["start", "stop"]


async def test_a_page_holds_what_came_and_where_to_read_on(reader: KafkaReader) -> None:
    """Gaps are no matter; a poll may bring nothing yet."""
    _Consumer.polls = [[], [4, 7, 8]]
    assert await reader.read(TOPIC, 3, 4, 2) == Page(
        [TopicRecord(4, 40, b"k", None), TopicRecord(7, 70, b"k", None)], 8
    )
    at = TopicPartition(TOPIC, 3)
    assert _Consumer.made[0].steps == ["start", ("assign", at), ("seek", 3, 4), "unsubscribe"]


async def test_a_page_is_empty_only_at_the_end(reader: KafkaReader) -> None:
    """Where nothing but markers follows, the position goes there without a record."""
    assert await reader.read(TOPIC, 3, 4, 2) == Page([], 10)


@pytest.mark.parametrize("offset", [10, 12])
async def test_behind_the_end_nothing_is_fetched(reader: KafkaReader, offset: int) -> None:
    """The consumer would begin at the start instead."""
    _Consumer.polls = [[0]]
    assert await reader.read(TOPIC, 3, offset, 2) == Page([], 10)
    assert _Consumer.made[0].steps == ["start"]


@pytest.mark.parametrize("failure", [KafkaConnectionError("no broker"), ConnectionResetError("reset")])
async def test_an_unreachable_broker_is_an_output_error_and_the_next_call_reconnects(
    reader: KafkaReader, failure: Exception
) -> None:
    """What was half open is closed."""
    _Consumer.failure = failure
    with pytest.raises(OutputError, match=r"no broker|reset"):
        await reader.end(TOPIC, 0)
    assert _Consumer.made[0].steps == ["start", "stop"]
    _Consumer.failure = None
    assert await reader.end(TOPIC, 0) == 10
    assert len(_Consumer.made) == 2


async def test_a_broker_that_hangs_is_an_output_error_in_time(
    reader: KafkaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane that must end waits no longer, and does not delay the next caller."""
    monkeypatch.setattr("worker.adapters.kafka_reader._ANSWER_SECONDS", 0.0)
    _Consumer.hangs = True
    with pytest.raises(OutputError, match="no broker answers within 0 s"):
        await reader.read(TOPIC, 0, 0, 1)
    monkeypatch.undo()
    monkeypatch.setattr("worker.adapters.kafka_reader.AnyBytesConsumer", _Consumer)
    _Consumer.hangs = False
    assert await reader.end(TOPIC, 0) == 10


async def test_lanes_that_read_at_once_are_served_one_after_the_other(reader: KafkaReader) -> None:
    """They share one consumer, which is assigned one partition at a time."""
    _Consumer.polls = [[0], [1]]
    await asyncio.gather(reader.read(TOPIC, 0, 0, 1), reader.read(TOPIC, 1, 1, 1))
    [consumer] = _Consumer.made
    assert [step if isinstance(step, str) else step[0] for step in consumer.steps] == [
        "start", "assign", "seek", "unsubscribe", "assign", "seek", "unsubscribe",
    ]  # fmt: skip
