"""A reader of a topic in Kafka, for streams, and for other code that reads a page of it.

Nothing here bounds the number of readers, and each is a connection to Kafka. The bounds of `api.streaming.catchup` and
`api.topic_pages.newest_first` count their own readers only. Other code that opens readers needs a bound too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from api.errors.base import ApiError
from schemas.kafka.fetcher import AnyBytesConsumer
from schemas.kafka.source_record import SourceRecord
from schemas.kafka.topic_check import CREATE, wrong_count
from schemas.settings import Settings

CONNECT_SECONDS: Final = 4.0
ASK_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 2.0
PAGE_RECORDS: Final = 500
LOST: Final = (KafkaError, OSError, TimeoutError)
"""The errors of a lost connection to Kafka."""


class OffsetRange(NamedTuple):
    """A partition's first offset, and its end."""

    start: int
    end: int


class Reader(Protocol):
    """One connection to the topic. Every method may raise one of `LOST`."""

    async def bounds(self, partitions: Iterable[int]) -> dict[int, OffsetRange]:
        """Return the first and the end offset of these partitions."""
        ...

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions only, each from an offset."""
        ...

    async def page(self, seconds: float) -> list[SourceRecord]:
        """Return the next records, in order within each partition; none if none came in time."""
        ...


class PlacedReader(Reader, Protocol):
    """A reader that also says how far it has read."""

    async def position(self, partition: int) -> int:
        """Return the offset up to which a partition was read; offsets without a record are passed over."""
        ...

    async def count(self) -> int:
        """Return how many partitions the topic has."""
        ...


OpenReader = Callable[[], AbstractAsyncContextManager[Reader]]
OpenPlacedReader = Callable[[], AbstractAsyncContextManager[PlacedReader]]


class MissingTopicError(ApiError, KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The topic does not exist, or has another number of partitions."""


class KafkaReader:
    """The topic through a consumer without a group, which can read any bytes."""

    def __init__(self, consumer: Any, topic: str) -> None:  # noqa: ANN401 - aiokafka has no types
        self._consumer = consumer
        self._topic = topic

    def _at(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in partitions]

    async def check(self, partitions: int) -> None:
        """Require that the topic has that many partitions.

        All topics are listed: to ask for one by name can create it.

        Raises:
            MissingTopicError: if it has another number, or is missing.
        """
        count = await self.count()
        if count != partitions:
            raise MissingTopicError(wrong_count(self._topic, count, partitions))

    async def count(self) -> int:
        """Return how many partitions the topic has.

        Raises:
            MissingTopicError: if it is missing.
            TimeoutError: if no broker answers in time.
        """
        # aiokafka waits for 40 s for each broker in turn.
        async with asyncio.timeout(ASK_SECONDS):
            listed = await self._consumer._client.fetch_all_metadata()  # noqa: SLF001 - nothing public counts them
        count = len(listed.partitions_for_topic(self._topic) or ())
        if count == 0:
            raise MissingTopicError(f"topic {self._topic} is missing, or an ACL hides it; {CREATE}")
        return count

    async def bounds(self, partitions: Iterable[int]) -> dict[int, OffsetRange]:
        """Return the first and the end offset of these partitions."""
        partitions_at = self._at(partitions)
        async with asyncio.timeout(ASK_SECONDS):
            starts = await self._consumer.beginning_offsets(partitions_at)
            ends = await self._consumer.end_offsets(partitions_at)
        return {
            topic_partition.partition: OffsetRange(starts[topic_partition], ends[topic_partition])
            for topic_partition in partitions_at
        }

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions only, each from an offset."""
        self._consumer.assign(self._at(offsets))
        for partition, offset in offsets.items():
            self._consumer.seek(TopicPartition(self._topic, partition), offset)

    async def page(self, seconds: float) -> list[SourceRecord]:
        """Return the next records, at most `PAGE_RECORDS`."""
        fetched = await self._consumer.getmany(timeout_ms=round(seconds * 1000), max_records=PAGE_RECORDS)
        return [record for page in fetched.values() for record in page]

    async def position(self, partition: int) -> int:
        """Return the offset up to which a partition was read."""
        offset: int = await self._consumer.position(TopicPartition(self._topic, partition))
        return offset


def opener(settings: Settings, topic: str, *, any_count: bool = False) -> OpenPlacedReader:
    """Return a context manager that connects to a topic of the installation for its block.

    Args:
        settings: name the brokers.
        topic: the topic.
        any_count: whether it may have another number of partitions than the tenants' topics.
    """

    @asynccontextmanager
    async def open_reader() -> AsyncIterator[PlacedReader]:
        # No offset is ever reset behind our back: a hole in the log is for a person, or a `reset`.
        consumer = AnyBytesConsumer(
            **settings.kafka_client(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=100,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await consumer.start()
                reader = KafkaReader(consumer, topic)
                if not any_count:
                    await reader.check(settings.partitions)
            yield reader
        finally:
            with suppress(*LOST):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await consumer.stop()

    return open_reader
