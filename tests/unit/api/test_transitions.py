"""The reader of the transitions topic, over a consumer that is a few lists."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from api.adapters.transitions import KafkaReader, MissingTopicError, OffsetRange
from api.streaming.rows import row_of
from tests.support.fetch_answers import Log, Stored
from tests.support.raw_batches import RawBatch, RawRecord, numbered
from tests.unit.api.topic import value


class FakeConsumer:
    """As much of an aiokafka consumer as the reader uses."""

    def __init__(self, topics: dict[str, set[int]]) -> None:
        self.topics = topics
        self.assigned: list[TopicPartition] = []
        self.sought: dict[TopicPartition, int] = {}
        self._client = self

    async def fetch_all_metadata(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        """List the topics."""
        return SimpleNamespace(partitions_for_topic=self.topics.get)

    async def beginning_offsets(self, at: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Each begins at its number."""
        return {one: one.partition for one in at}

    async def end_offsets(self, at: list[TopicPartition]) -> dict[TopicPartition, int]:
        """Each ends ten later."""
        return {one: one.partition + 10 for one in at}

    def assign(self, at: list[TopicPartition]) -> None:
        """Remember the assignment."""
        self.assigned = at

    def seek(self, at: TopicPartition, offset: int) -> None:
        """Remember the offset."""
        self.sought[at] = offset

    async def position(self, at: TopicPartition) -> int:
        """Each was read to its number and three."""
        partition: int = at.partition
        return partition + 3

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        """One record of partition 4."""
        assert (timeout_ms, max_records) == (1500, 500)
        return {TopicPartition("t", 4): [SimpleNamespace(partition=4, offset=7, value=value("acme", 9))]}


@pytest.mark.parametrize(
    ("topics", "message"),
    [
        ({}, "is missing, or an ACL hides it; run `sleepctl topics create`"),
        ({"t": {0, 1}}, "has 2 partitions and SLEEP_PARTITIONS is 8"),
    ],
)
async def test_a_topic_that_is_missing_or_of_another_size_is_not_read(
    topics: dict[str, set[int]], message: str
) -> None:
    """Nor made by asking for it."""
    with pytest.raises(MissingTopicError, match=message):
        await KafkaReader(FakeConsumer(topics), "t").check(8)


async def test_the_reader_reads_from_where_it_is_told_and_knows_the_bounds() -> None:
    """Partition by partition."""
    consumer = FakeConsumer({"t": set(range(8))})
    reader = KafkaReader(consumer, "t")
    await reader.check(8)
    assert await reader.bounds([4, 5]) == {4: OffsetRange(4, 14), 5: OffsetRange(5, 15)}
    assert (await reader.count(), await reader.position(4)) == (8, 7)
    reader.seek({4: 7, 5: 9})
    assert consumer.assigned == [TopicPartition("t", 4), TopicPartition("t", 5)]
    assert consumer.sought == {TopicPartition("t", 4): 7, TopicPartition("t", 5): 9}
    [row] = map(row_of, await reader.page(1.5))
    assert (row.partition, row.offset, row.tenant) == (4, 7, "acme")


def test_a_batch_that_cannot_be_read_is_nobodys_and_is_passed_by() -> None:
    """The row stands at its last offset, and the log says why it is empty."""
    wrong = replace(RawBatch(numbered([RawRecord(value("acme", 0))] * 3), 3), codec=6)
    [bad] = Log(Stored(3, 5, wrong.encode())).read(3)
    with capture_logs() as logs:
        row = row_of(bad)
    assert (row.offset, row.tenant, row.body, row.shown) == (5, "", b"", False)
    assert "codec has the number 6" in logs[0]["error"]
