"""Reads topics from one offset to another, and asks where the workers' group is."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaConnectionError, KafkaError, for_code

from schemas.errors import describe
from schemas.kafka.fetcher import AnyBytesConsumer
from schemas.kafka.source_record import SourceRecord
from schemas.settings import Settings
from worker.adapters.aiokafka_patches import create_no_topics
from worker.errors import WorkerError

_POLL_MS: Final = 500
_PAGE: Final = 5_000
_FETCH_BYTES: Final = 8 << 20
# A fetch at a topic's end delays the next request on its connection. Kafka's default of 500 ms would do so at each
# topic and partition.
_FETCH_WAIT_MS: Final = 25
# Longer than a leader election takes. An empty answer comes after each `_POLL_MS`.
_PATIENCE_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 2.0
_EMPTY_STATES: Final = ("Empty", "Dead")


class OffsetRange(NamedTuple):
    """The first offset that a partition still holds, and the offset after its last record."""

    start: int
    end: int


class TopicReadError(WorkerError):
    """A topic cannot be read; the text says why, and what to do."""


class NoTopicError(TopicReadError):
    """The topic does not exist."""


def unreachable(settings: Settings, error: KafkaError | OSError) -> TopicReadError:
    """Return the error that says that Kafka could not be reached."""
    where = f"Kafka at {settings.kafka_bootstrap} does not answer"
    # aiokafka's text would be a list of its own addresses, with Python's names for them.
    if isinstance(error, KafkaConnectionError):
        return TopicReadError(f"{where}; is it running, and are SLEEP_KAFKA_BOOTSTRAP and its security settings right?")
    return TopicReadError(f"{where}: {describe(error)}")


class TopicReader:
    """A consumer and an admin client, outside of any group, for use in `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Any = None
        self._admin: Any = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            TopicReadError: if no broker answers.
        """
        create_no_topics()
        try:
            self._consumer = AnyBytesConsumer(
                **self._settings.kafka_client(),
                client_id="sleepctl",
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
            )
            await self._consumer.start()
            self._admin = AIOKafkaAdminClient(**self._settings.kafka_client(), client_id="sleepctl")
            await self._admin.start()
        except (KafkaError, OSError) as error:
            await self._stop()
            raise unreachable(self._settings, error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._stop()

    async def _stop(self) -> None:
        """Disconnect within twice `_CLOSE_SECONDS`.

        aiokafka's fetcher loses a cancellation that comes while it changes its partitions. It ends at the next
        cancellation, which the timeout sends.
        """
        for client in (self._consumer, self._admin):
            if client is not None:
                with suppress(TimeoutError, KafkaError, OSError):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await (client.close() if client is self._admin else client.stop())

    async def bounds(self, topic: str) -> dict[int, OffsetRange]:
        """Return the offset range of each partition of a topic.

        Raises:
            NoTopicError: if the topic does not exist.
            TopicReadError: if Kafka does not answer.
        """
        try:
            # Lists all topics: a request for one by name can create it, with the broker's defaults.
            if topic not in await self._admin.list_topics():
                raise NoTopicError(f"there is no topic {topic}; `sleepctl topics create` creates it")
            [described] = await self._admin.describe_topics([topic])
            wanted = [TopicPartition(topic, number) for number in range(len(described["partitions"]))]
            starts = await self._consumer.beginning_offsets(wanted)
            ends = await self._consumer.end_offsets(wanted)
        except KafkaError as error:
            raise unreachable(self._settings, error) from None
        return {at.partition: OffsetRange(starts[at], ends[at]) for at in wanted}

    async def offsets_at(self, topic: str, at: int) -> dict[int, int]:
        """Return the first offset of each partition of a topic whose record has a time or a later one.

        Args:
            topic: its name.
            at: the time, ms. Where every record is earlier, the offset is the partition's end.

        Raises:
            NoTopicError: if the topic does not exist.
            TopicReadError: if Kafka does not answer.
        """
        ranges = await self.bounds(topic)
        wanted = {TopicPartition(topic, number): max(at, 0) for number in ranges}
        try:
            found = await self._consumer.offsets_for_times(wanted)
        except KafkaError as error:
            raise unreachable(self._settings, error) from None
        offsets = {}
        for number, range_ in ranges.items():
            place = found.get(TopicPartition(topic, number))
            # The embedded broker looks up no time, and answers as if every record were earlier.
            offsets[number] = await self._search(topic, number, range_, at) if place is None else place.offset
        return offsets

    async def _search(self, topic: str, partition: int, range_: OffsetRange, at: int) -> int:
        """Return the first offset with a time or a later one by reading; the end if the last record is earlier."""
        start, end = range_
        if await self._first_later(topic, partition, OffsetRange(max(start, end - 1), end), at) == end:
            return end
        return await self._first_later(topic, partition, range_, at)

    async def _first_later(self, topic: str, partition: int, range_: OffsetRange, at: int) -> int:
        async with aclosing(self.read(topic, partition, *range_)) as pages:
            async for page in pages:
                if (later := next((record for record in page if record.timestamp >= at), None)) is not None:
                    return later.offset
        return range_.end

    async def read(
        self, topic: str, partition: int, start: int, end: int, advance: Callable[[int], object] = lambda _: None
    ) -> AsyncGenerator[list[SourceRecord], None]:
        """Yield the records from an offset up to another, in order, page by page.

        Args:
            topic: its name.
            partition: the partition's number.
            start: the first offset.
            end: the offset after the last.
            advance: called after each page with how many more offsets were read.

        Raises:
            TopicReadError: if Kafka does not answer, or no record comes for 30 seconds, or the log ends before `end`,
                or it no longer holds the next record. Only dead letters may expire meanwhile; they are left out.
        """
        at, done, clock = TopicPartition(topic, partition), start, asyncio.get_running_loop().time
        moved = clock()
        try:
            self._consumer.assign([at])
            self._consumer.seek(at, start)
            while done < end:
                async with asyncio.timeout_at(moved + _PATIENCE_SECONDS):
                    records = (await self._consumer.getmany(at, timeout_ms=_POLL_MS, max_records=_PAGE)).get(at, [])
                    position = min(await self._consumer.position(at), end)
                if position < done:
                    # The client starts again at the beginning if the log has no such offset.
                    raise TopicReadError(
                        f"{topic} partition {partition} was truncated while it was read: offset {done} is gone"
                    )
                # The client goes on at the start of a trimmed log. Compaction and transactions leave gaps as well.
                first = records[0].offset if records else position
                if first > done and topic != self._settings.topics.deadletter and await self._start(at) > done:
                    raise TopicReadError(
                        f"{topic} partition {partition} was trimmed while it was read: offset {done} is gone; run the "
                        "same command again"
                    )
                if page := [record for record in records if record.offset < end]:
                    yield page
                advance(position - done)
                if position > done:
                    moved = clock()  # The time that the caller takes for the page is no waiting time.
                done = position
        except TimeoutError:
            raise TopicReadError(
                f"{topic} partition {partition} cannot be read: no record came for {_PATIENCE_SECONDS:g} s at offset "
                f"{done}, and the partition ended at {end}; does Kafka run, and was the topic truncated?"
            ) from None
        except KafkaError as error:
            raise TopicReadError(f"{topic} partition {partition} cannot be read: {describe(error)}") from None

    async def _start(self, at: TopicPartition) -> int:
        starts: dict[TopicPartition, int] = await self._consumer.beginning_offsets([at])
        return starts[at]

    async def members(self) -> int:
        """Return how many members the workers' group has; at least 1 while it rebalances.

        Raises:
            TopicReadError: if Kafka does not say.
        """
        try:
            answers = await self._admin.describe_consumer_groups([self._settings.consumer_group])
            code, _, state, _, _, members, *_ = answers[0].groups[0]
            if code:
                raise for_code(code)
        except IncompatibleBrokerVersion:
            raise TopicReadError("this broker cannot say who is in a group (the embedded broker cannot)") from None
        except KafkaError as error:
            raise TopicReadError(
                f"Kafka does not say who is in group {self._settings.consumer_group}: {describe(error)}"
            ) from None
        return len(members) or int(state not in _EMPTY_STATES)

    async def committed(self) -> dict[int, int]:
        """Return the offset that the workers' group has committed, by partition, if it has committed one.

        Raises:
            TopicReadError: if Kafka does not say.
        """
        events = self._settings.topics.events
        # By name: the embedded broker has no answer to a request for all offsets of a group.
        wanted = [TopicPartition(events, partition) for partition in range(self._settings.partitions)]
        try:
            offsets = await self._admin.list_consumer_group_offsets(self._settings.consumer_group, partitions=wanted)
        except KafkaError as error:
            raise TopicReadError(
                f"Kafka does not say the offsets of group {self._settings.consumer_group}: {describe(error)}"
            ) from None
        return {at.partition: offset.offset for at, offset in offsets.items() if offset.offset >= 0}
