"""Kafka, as topics that the command line reads, from one offset to another."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from schemas.errors import describe
from schemas.settings import Settings
from sleepctl.errors import CommandError
from sleepctl.kafka import unreachable
from worker.deadletter import SourceRecord

_POLL_MS: Final = 500
_PAGE: Final = 5_000
_FETCH_BYTES: Final = 8 << 20
# A fetch at a topic's end holds up whatever is asked next on its connection; Kafka's default of 500 ms would do so at
# each topic and partition.
_FETCH_WAIT_MS: Final = 25
# Longer than a leader election takes; an empty answer is given after each `_POLL_MS`.
_PATIENCE_SECONDS: Final = 30.0
_NOBODY: Final = ("Empty", "Dead")


class Bounds(NamedTuple):
    """The first offset that a partition still holds, and the offset after its last record."""

    start: int
    end: int


class TopicReader:
    """Kafka through aiokafka, outside of any group, for use in `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Any = None
        self._admin: Any = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            CommandError: if no broker answers.
        """
        try:
            self._consumer = AIOKafkaConsumer(
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
        if self._consumer is not None:
            await self._consumer.stop()
        if self._admin is not None:
            await self._admin.close()

    async def bounds(self, topic: str) -> dict[int, Bounds]:
        """Return the bounds of each partition of a topic.

        Raises:
            CommandError: if there is no such topic, or Kafka does not answer.
        """
        try:
            # All topics are listed: asking for one by name can make it, with the broker's defaults.
            if topic not in await self._admin.list_topics():
                raise CommandError(f"there is no topic {topic}; `sleepctl topics create` makes it")
            [described] = await self._admin.describe_topics([topic])
            wanted = [TopicPartition(topic, number) for number in range(len(described["partitions"]))]
            starts = await self._consumer.beginning_offsets(wanted)
            ends = await self._consumer.end_offsets(wanted)
        except KafkaError as error:
            raise unreachable(self._settings, error) from None
        return {at.partition: Bounds(starts[at], ends[at]) for at in wanted}

    async def read(
        self, topic: str, partition: int, start: int, end: int, advance: Callable[[int], object] = lambda _: None
    ) -> AsyncIterator[list[SourceRecord]]:
        """Yield the records from an offset up to another, in order, page by page.

        Args:
            topic: its name.
            partition: the partition's number.
            start: the first offset.
            end: the offset after the last.
            advance: told how many offsets lie behind, after each page.

        Raises:
            CommandError: if Kafka does not answer, or nothing comes for 30 seconds, or the log ends before `end`, or
                no longer holds what was to be read next. Dead letters alone may go meanwhile, and are passed over.
        """
        at, done, clock = TopicPartition(topic, partition), start, asyncio.get_running_loop().time
        moved = clock()
        try:
            self._consumer.assign([at])
            self._consumer.seek(at, start)
            while done < end:
                async with asyncio.timeout_at(moved + _PATIENCE_SECONDS):
                    found = (await self._consumer.getmany(at, timeout_ms=_POLL_MS, max_records=_PAGE)).get(at, [])
                    position = min(await self._consumer.position(at), end)
                if position < done:
                    # The client begins anew where the log has no such offset.
                    raise CommandError(f"{topic} partition {partition} was cut while it was read: {done} is gone")
                # And it goes on where a trimmed log begins; compaction and transactions leave holes as well.
                first = found[0].offset if found else position
                if first > done and topic != self._settings.topics.deadletter and await self._start(at) > done:
                    raise CommandError(
                        f"{topic} partition {partition} was trimmed while it was read: {done} is gone; run the same "
                        "command again"
                    )
                if records := [record for record in found if record.offset < end]:
                    yield records
                advance(position - done)
                if position > done:
                    moved = clock()  # What the caller did with the page is not waiting.
                done = position
        except TimeoutError:
            raise CommandError(
                f"{topic} partition {partition} cannot be read: nothing came for {_PATIENCE_SECONDS:g} s at {done}, "
                f"and it ended at {end}; is Kafka there, and was the topic cut?"
            ) from None
        except KafkaError as error:
            raise CommandError(f"{topic} partition {partition} cannot be read: {describe(error)}") from None

    async def _start(self, at: TopicPartition) -> int:
        found: dict[TopicPartition, int] = await self._consumer.beginning_offsets([at])
        return found[at]

    async def members(self) -> int:
        """Return how many members the workers' group has, a rebalance counting as one.

        Raises:
            CommandError: if Kafka does not tell.
        """
        try:
            answers = await self._admin.describe_consumer_groups([self._settings.consumer_group])
            code, _, state, _, _, members, *_ = answers[0].groups[0]
            if code:
                raise for_code(code)
        except KafkaError as error:
            raise CommandError(
                f"Kafka does not tell who is in group {self._settings.consumer_group}: {describe(error)}"
            ) from None
        return len(members) or int(state not in _NOBODY)

    async def committed(self) -> dict[int, int]:
        """Return up to where the workers' group says that each partition was applied, where it says anything.

        Raises:
            CommandError: if Kafka does not tell.
        """
        try:
            found = await self._admin.list_consumer_group_offsets(self._settings.consumer_group)
        except KafkaError as error:
            raise CommandError(
                f"Kafka does not tell the offsets of group {self._settings.consumer_group}: {describe(error)}"
            ) from None
        events = self._settings.topics.events
        return {
            at.partition: offset.offset for at, offset in found.items() if at.topic == events and offset.offset >= 0
        }
