"""Redrive dead letters: send their records again, in their order, each once.

A note on the dead-letter topic says what was redriven. The dead letter of a flood holds only its first record. All its
records are read again from their topic, as far as the topic still holds them.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

from schemas.errors import describe
from schemas.kafka import offset_ranges
from schemas.kafka.offset_ranges import Ranges
from schemas.kafka.source_record import SourceRecord, Unreadable
from schemas.settings import Settings
from schemas.wire.cloudevents import MAX_BYTES
from worker.adapters import kafka_producer, topic_reader
from worker.adapters.topic_reader import TopicReader
from worker.ports import OutputError
from worker.recovery.dead_letter_topic import ReadProgress, Select, read_dead_letters
from worker.recovery.dead_letters import (
    DeadLetter,
    RedriveRecord,
    in_order,
    record_to_redrive,
    redrive_output,
    why_flood_stays,
)
from worker.recovery.errors import RecoveryError
from worker.recovery.notes import Note, RedriveNotes, note_of, note_of_flood

_PAGE_RECORDS: Final = 10_000
_PAGE_BYTES: Final = 16 << 20


class RedriveReport(NamedTuple):
    """What a redrive did.

    Attributes:
        sent: where the records of each dead letter went.
        refused: the place of each dead letter of which a record was not sent, and the reason.
        skipped: how many dead letters were left out, since they were redriven before.
    """

    sent: list[dict[str, Any]]
    refused: list[tuple[str, str]]
    skipped: int

    @property
    def records(self) -> int:
        """How many records were sent."""
        return sum(sent.get("records", 1) for sent in self.sent)


async def redrive(
    settings: Settings, select: Select, progress: ReadProgress, *, named: bool, again: bool
) -> RedriveReport:
    """Redrive dead letters.

    The order is determined first, without keys and values, since all of them may not fit into memory.

    Args:
        settings: name the installation.
        select: the dead letters to redrive.
        progress: learns how far the topic is read.
        named: whether the operator named one dead letter; it is redriven whatever was redriven before.
        again: whether to redrive also what was redriven before.

    Raises:
        TopicReadError: if the dead-letter topic cannot be read.
        RecoveryError: if Kafka does not take all records.
    """
    notes = RedriveNotes()
    selected: list[DeadLetter] = []
    redriven_before: set[str] = set()
    failed_again: set[str] = set()
    async with topic_reader.TopicReader(settings) as reader:
        async for dead_letter in read_dead_letters(reader, settings.topics.deadletter, notes, progress):
            if dead_letter.earlier is not None:
                failed_again.add(dead_letter.earlier)
            if select(dead_letter):
                if dead_letter.earlier is not None:
                    redriven_before.add(dead_letter.place)
                selected.append(dead_letter._replace(message="", key=None, value=None, headers=()))
    if named:
        left = selected
    elif again:
        # If a record failed again, only its latest dead letter counts, or the record would be sent once for each.
        left = [dead_letter for dead_letter in selected if dead_letter.place not in failed_again]
    else:
        left = [each for each in selected if notes.not_redriven(each) and each.place not in redriven_before]
    # What the operator asks for explicitly is sent whatever the notes say.
    run = _Redrive(settings, RedriveNotes() if named or again else notes, skipped=len(selected) - len(left))
    await run.send(settings, left)
    return run.report


def _pages(dead_letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """Yield dead letters page by page; the values of a page fit into memory."""
    page: list[DeadLetter] = []
    size = 0
    for dead_letter in dead_letters:
        page.append(dead_letter)
        size += min(dead_letter.size, MAX_BYTES)
        if len(page) >= _PAGE_RECORDS or size >= _PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


async def _with_values(reader: TopicReader, topic: str, page: list[DeadLetter]) -> dict[str, DeadLetter]:
    """Return the dead letters of a page by their places, read again with keys and values."""
    offsets: dict[int, set[int]] = {}
    for dead_letter in page:
        partition, _, offset = dead_letter.place.partition(":")
        offsets.setdefault(int(partition), set()).add(int(offset))
    by_place: dict[str, DeadLetter] = {}
    for number, wanted in offsets.items():
        async for records in reader.read(topic, number, min(wanted), max(wanted) + 1):
            for record in records:
                if record.offset in wanted:
                    dead_letter = DeadLetter.of(record)
                    by_place[dead_letter.place] = dead_letter
    return by_place


class _Redrive:
    """One run of the command.

    Attributes:
        report: what was done so far.
    """

    def __init__(self, settings: Settings, notes: RedriveNotes, *, skipped: int) -> None:
        self.report = RedriveReport([], [], skipped)
        self._producer = kafka_producer.KafkaOutputs(settings)
        self._topics = settings.topics
        self._partitions = settings.partitions
        self._sources = {settings.topics.events, *(ingress.topic for ingress in settings.ingress_topics)}
        self._notes = notes

    async def send(self, settings: Settings, dead_letters: list[DeadLetter]) -> None:
        """Send the records of dead letters; these come without keys and values."""
        try:
            await self._producer.start()
            async with topic_reader.TopicReader(settings) as reader:
                for page in _pages(in_order(dead_letters)):
                    await self._send_page(reader, page)
        except (OutputError, OSError, topic_reader.TopicReadError) as error:
            reason = str(error) if isinstance(error, topic_reader.TopicReadError) else describe(error)
            raise RecoveryError(
                f"Kafka did not take all of them: {reason}; {self.report.records} are back and noted as such, and "
                "perhaps some more: look at their topic before you put them back again"
            ) from None
        finally:
            await self._producer.stop()

    async def _send_page(self, reader: TopicReader, page: list[DeadLetter]) -> None:
        """Send the records of a page, in their order."""
        by_place = await _with_values(reader, self._topics.deadletter, page)
        places = [dead_letter.place for dead_letter in page]
        self.report.refused.extend((place, "it is no longer there") for place in places if place not in by_place)
        complete = (by_place[place] for place in places if place in by_place)
        for flood, dead_letters in groupby(complete, lambda dead_letter: dead_letter.offsets is not None):
            if not flood:
                await self._send(list(dead_letters))
                continue
            for dead_letter in dead_letters:
                await self._send_flood(reader, dead_letter)

    async def _send(self, dead_letters: list[DeadLetter]) -> None:
        """Send the records of dead letters of one record each; note those of a partition as soon as they are sent."""
        batches: dict[tuple[str, int], list[RedriveRecord]] = {}
        for dead_letter in dead_letters:
            if not self._notes.not_redriven(dead_letter):
                continue
            record = record_to_redrive(dead_letter, self._topics.events, self._partitions, self._sources)
            if isinstance(record, str):
                self.report.refused.append((dead_letter.place, record))
            else:
                batches.setdefault((record.topic, record.partition), []).append(record)
        for (topic, partition), records in batches.items():
            await self._producer.send(topic, partition, [record.output for record in records])
            by_partition: dict[int, list[RedriveRecord]] = {}
            for record in records:
                by_partition.setdefault(int(record.dead_letter.place.partition(":")[0]), []).append(record)
            for number, sent in by_partition.items():
                await self._producer.send(self._topics.deadletter, number, [note_of(record) for record in sent])
            for record in records:
                self._notes.add(Note.of(record.dead_letter, record.dead_letter.ranges))
                place = {"place": record.dead_letter.place, "topic": topic, "partition": partition}
                self.report.sent.append(place)

    async def _send_flood(self, reader: TopicReader, dead_letter: DeadLetter) -> None:
        """Send the records of a flood that its topic still holds, and report how many are lost."""
        reason = why_flood_stays(dead_letter, self._sources - {self._topics.events})
        if reason is not None:
            self.report.refused.append((dead_letter.place, reason))
            return
        topic, partition = dead_letter.topic, dead_letter.partition
        left = self._notes.not_redriven(dead_letter)
        sent = 0
        async for records in _records_of(reader, dead_letter, left):
            await self._producer.send(topic, partition, [redrive_output(dead_letter, record) for record in records])
            ranges = offset_ranges.joined(record.offset for record in records)
            # A note a page, so that the command can be run again if it fails in the middle.
            note = note_of_flood(dead_letter, ranges)
            await self._producer.send(self._topics.deadletter, int(dead_letter.place.partition(":")[0]), [note])
            self._notes.add(Note.of(dead_letter, ranges))
            sent += len(records)
        if sent:
            place = {"place": dead_letter.place, "topic": topic, "partition": partition}
            self.report.sent.append(place | {"records": sent})
        if lost := offset_ranges.count(left) - sent:
            reason = f"{topic} partition {partition} no longer holds them"
            self.report.refused.append(
                (dead_letter.place, f"{lost} of {dead_letter.records} records are lost: {reason}")
            )


async def _records_of(reader: TopicReader, dead_letter: DeadLetter, left: Ranges) -> AsyncIterator[list[SourceRecord]]:
    """Yield the records of a flood with these offsets, page by page, as far as their topic still holds them."""
    topic, partition = dead_letter.topic, dead_letter.partition
    try:
        offsets = (await reader.bounds(topic)).get(partition)
    except topic_reader.NoTopicError:
        return
    if offsets is None or not left:
        return
    start, end, at = max(left[0].first, offsets.start), min(left[-1].last + 1, offsets.end), 0
    if start >= end:
        return
    async for page in reader.read(topic, partition, start, end):
        records: list[SourceRecord] = []
        for record in page:
            while at < len(left) and left[at].last < record.offset:
                at += 1
            if at == len(left):
                break
            if left[at].first <= record.offset and not isinstance(record, Unreadable):
                if not dead_letter.may_hold(record):
                    return  # The topic was recreated.
                records.append(record)
        if records:
            yield records
