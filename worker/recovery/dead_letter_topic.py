"""The dead-letter topic: dead letters and notes, as recovery reads them."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Protocol

from schemas.kafka.source_record import SourceRecord
from schemas.settings import Settings
from worker.adapters import topic_reader
from worker.adapters.topic_reader import TopicReader
from worker.recovery.dead_letters import DeadLetter
from worker.recovery.notes import RedriveNotes, read_note
from worker.recovery.skipped_records import SkippedRecords

Select = Callable[[DeadLetter], bool]
"""Returns whether a dead letter is wanted."""


class ReadProgress(Protocol):
    """Learns how far the topic is read; see `sleepctl.ui.progress`."""

    def begin(self, offsets: int) -> None:
        """Show how many offsets are to be read."""

    def advance(self, offsets: int) -> None:
        """Show that so many more were read."""

    def ignored(self, reason: str) -> None:
        """Show that a record was ignored, since no worker wrote it."""


async def read_dead_letters(
    reader: TopicReader, topic: str, notes: RedriveNotes, progress: ReadProgress
) -> AsyncIterator[DeadLetter]:
    """Yield all dead letters, by partition; add all notes to `notes`.

    Raises:
        TopicReadError: if Kafka does not answer, or the topic does not exist.
    """
    ranges = await reader.bounds(topic)
    progress.begin(sum(end - start for start, end in ranges.values()))
    for number, (start, end) in ranges.items():
        async for page in reader.read(topic, number, start, end, progress.advance):
            for record in page:
                if (note := read_note(record)) is not None:
                    notes.add(note)
                    continue
                try:
                    yield DeadLetter.of(record)
                except ValueError as error:
                    progress.ignored(str(error))


class DeadLetterTopic:
    """All dead letters so far, read once for all partitions of the log.

    The place of a dead letter does not say where its record came from. The topic may have another partition count than
    the log, and may have had fewer partitions when the dead letter was sent.
    """

    def __init__(self, settings: Settings, reader: TopicReader) -> None:
        self._topics = settings.topics
        self._reader = reader
        self._next: dict[int, int] = {}
        partitions = settings.partitions
        self._skipped = [SkippedRecords(number, partitions) for number in range(partitions)]

    def skipped(self, partition: int) -> SkippedRecords:
        """Return the skipped records of a partition of the log."""
        return self._skipped[partition]

    async def read_on(self) -> None:
        """Read the dead letters that were appended since the last call.

        Raises:
            TopicReadError: if Kafka does not answer, or the topic does not exist.
        """
        topic = self._topics.deadletter
        for number, (start, end) in (await self._reader.bounds(topic)).items():
            first = max(start, self._next.get(number, start))
            async for page in self._reader.read(topic, number, first, end):
                for record in page:
                    self._add(record)
            self._next[number] = end

    def _add(self, record: SourceRecord) -> None:
        try:
            dead_letter = DeadLetter.of(record)
        except ValueError:
            return  # No worker wrote it; `sleepctl deadletters list` reports it.
        if dead_letter.topic == self._topics.events and dead_letter.partition < len(self._skipped):
            self._skipped[dead_letter.partition].read(record, dead_letter)


class LatestDeadLetters(NamedTuple):
    """The last dead letters, the latest last, and what was redriven."""

    dead_letters: list[DeadLetter]
    notes: RedriveNotes

    def redriven(self, dead_letter: DeadLetter) -> bool:
        """Return whether all records of a dead letter were redriven."""
        return dead_letter.earlier is not None or not self.notes.not_redriven(dead_letter)


async def latest(settings: Settings, limit: int, select: Select, progress: ReadProgress) -> LatestDeadLetters:
    """Return the last selected dead letters, by time. Memory holds at most `limit` of each partition.

    Raises:
        TopicReadError: if Kafka does not answer, or the topic does not exist.
    """
    by_partition: dict[str, deque[DeadLetter]] = {}
    notes = RedriveNotes()
    async with topic_reader.TopicReader(settings) as reader:
        async for dead_letter in read_dead_letters(reader, settings.topics.deadletter, notes, progress):
            if select(dead_letter):
                partition = dead_letter.place.partition(":")[0]
                by_partition.setdefault(partition, deque(maxlen=limit)).append(dead_letter)
    selected = [dead_letter for last in by_partition.values() for dead_letter in last]
    return LatestDeadLetters(sorted(selected, key=lambda dead_letter: dead_letter.at)[-limit:], notes)
