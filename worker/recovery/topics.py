"""The topics of an installation, as a rebuild and a verification read them."""

from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

from schemas.kafka.source_record import SourceRecord
from schemas.settings import Settings
from worker.adapters.topic_reader import OffsetRange, TopicReader
from worker.partition.startup_checks import OTHER_COUNT
from worker.recovery.audit import Audit
from worker.recovery.dead_letter_topic import DeadLetterTopic
from worker.recovery.errors import RecoveryError
from worker.recovery.states_history import StatesHistory

Advance = Callable[[int], object]
"""Receives how many more offsets were read, for a progress bar."""


def no_progress_bar(_: int) -> None:
    """Ignore how many offsets were read."""


class TopicRanges(NamedTuple):
    """The offset ranges of three topics, each by partition."""

    events: dict[int, OffsetRange]
    states: dict[int, OffsetRange]
    transitions: dict[int, OffsetRange]


class RecoveryTopics:
    """The topics of an installation. Each method raises TopicReadError if Kafka does not answer.

    Attributes:
        reader: reads them.
        dead_letters: the dead letters of every partition.
    """

    def __init__(self, settings: Settings, reader: TopicReader) -> None:
        self.reader = reader
        self.dead_letters = DeadLetterTopic(settings, reader)
        self._names = settings.topics
        self._partitions = settings.partitions

    async def ranges(self) -> TopicRanges:
        """Return the offset ranges of events, states and transitions.

        Raises:
            RecoveryError: if a topic has another partition count than the settings say.
        """
        states = await self.reader.bounds(self._names.states)
        transitions = await self.reader.bounds(self._names.transitions)
        # The events come last, so that no state refers to an event beyond the end that was read.
        events = await self.reader.bounds(self._names.events)
        for topic, ranges in zip(self._names, (events, states, transitions), strict=False):
            self._require_partition_count(topic, ranges)
        return TopicRanges(events, states, transitions)

    async def event_range(self, partition: int) -> OffsetRange:
        """Return the offset range of a partition of the events topic; raises as `ranges`, like the next two."""
        return await self._range(self._names.events, partition)

    async def state_range(self, partition: int) -> OffsetRange:
        """Return the offset range of a partition of the states topic."""
        return await self._range(self._names.states, partition)

    async def transition_range(self, partition: int) -> OffsetRange:
        """Return the offset range of a partition of the transitions topic."""
        return await self._range(self._names.transitions, partition)

    async def _range(self, topic: str, partition: int) -> OffsetRange:
        ranges = await self.reader.bounds(topic)
        self._require_partition_count(topic, ranges)
        return ranges[partition]

    def _require_partition_count(self, topic: str, ranges: dict[int, OffsetRange]) -> None:
        if len(ranges) != self._partitions:
            raise RecoveryError(
                f"topic {topic} has {len(ranges)} partitions and SLEEP_PARTITIONS is {self._partitions}: {OTHER_COUNT}"
            )

    async def read_states(
        self, history: StatesHistory, offsets: OffsetRange, advance: Advance = no_progress_bar
    ) -> None:
        """Read a partition of the states topic into its history.

        Raises:
            ContradictionError: if it holds a record that no worker wrote.
        """
        async for page in self.reader.read(self._names.states, history.partition, *offsets, advance):
            for record in page:
                history.read(record)

    async def read_audit(self, audit: Audit, offsets: OffsetRange, advance: Advance = no_progress_bar) -> None:
        """Read a partition of the transitions topic into its audit.

        Raises:
            ContradictionError: if it holds a record that no worker wrote.
        """
        async for page in self.reader.read(self._names.transitions, audit.partition, *offsets, advance):
            for record in page:
                audit.read(record)

    def events(
        self, partition: int, start: int, end: int, advance: Advance = no_progress_bar
    ) -> AsyncGenerator[list[SourceRecord], None]:
        """Yield the events of a partition from an offset up to another, page by page."""
        return self.reader.read(self._names.events, partition, start, end, advance)
