"""Notes on the dead-letter topic of what was redriven, so that nothing is redriven twice. Pure.

A note names the source of a record, or lists which records of a flood were redriven. Earlier versions ignore notes.
"""

from typing import Final, NamedTuple

from schemas.kafka import offset_ranges
from schemas.kafka.offset_ranges import Ranges
from schemas.kafka.source_record import SourceRecord
from worker.fold.dead_letter import PREFIX, REDRIVE_OF
from worker.ports import Output
from worker.recovery.dead_letters import DeadLetter, RedriveRecord, SourceKey

_NOTE: Final = "sleep.redrive."
_SOURCE: Final = ("topic", "partition", "offset", "at", "size")


def note_of(record: RedriveRecord) -> Output:
    """Return the note, for the dead letter's own partition, that its record was redriven."""
    facts = {"of": record.dead_letter.place, "to": f"{record.topic}:{record.partition}"}
    facts |= dict(zip(_SOURCE, map(str, record.dead_letter.source), strict=True))
    return Output(None, None, [(f"{_NOTE}{name}", fact.encode()) for name, fact in facts.items()])


def note_of_flood(dead_letter: DeadLetter, ranges: Ranges) -> Output:
    """Return the note, for the dead letter's own partition, that these records of a flood were redriven."""
    facts = {
        "of": dead_letter.place,
        "to": f"{dead_letter.topic}:{dead_letter.partition}",
        "offsets": offset_ranges.text_of(ranges),
    }
    facts |= dict(zip(_SOURCE, map(str, dead_letter.source), strict=True))
    facts |= {"earliest_at": str(dead_letter.earliest_at), "latest_at": str(dead_letter.latest_at)}
    return Output(None, None, [(f"{_NOTE}{name}", fact.encode()) for name, fact in facts.items()])


class Note(NamedTuple):
    """What was redriven: a record, or records of a flood with timestamps between two times (ms)."""

    source: SourceKey
    flood: bool
    ranges: Ranges
    earliest_at: int
    latest_at: int

    @classmethod
    def of(cls, dead_letter: DeadLetter, ranges: Ranges) -> "Note":
        """Return the note that a dead letter's records with these offsets were redriven."""
        flood = dead_letter.offsets is not None
        return cls(dead_letter.source, flood, ranges, dead_letter.earliest_at, dead_letter.latest_at)


def read_note(record: SourceRecord) -> Note | None:
    """Return the note in a record of the topic, None if the record is not a note."""
    headers = dict(record.headers)
    if REDRIVE_OF not in headers or any(name.startswith(PREFIX) for name in headers):
        return None
    try:
        topic, *numbers = (headers[f"{_NOTE}{name}"].decode() for name in _SOURCE)
        partition, offset, at, size = map(int, numbers)
        ranges = offset_ranges.parse(headers.get(f"{_NOTE}offsets", b"%d" % offset).decode())
        earliest_at, latest_at = (int(headers.get(f"{_NOTE}{name}_at", b"%d" % at)) for name in ("earliest", "latest"))
    except (KeyError, ValueError):
        return None
    return Note((topic, partition, offset, at, size), f"{_NOTE}offsets" in headers, ranges, earliest_at, latest_at)


class RedriveNotes:
    """What was redriven, by the notes on the topic."""

    def __init__(self) -> None:
        self._records: set[SourceKey] = set()
        # Both by topic and partition.
        self._floods: dict[tuple[str, int], list[Note]] = {}
        self._offsets: dict[tuple[str, int], list[tuple[int, int]]] = {}

    def add(self, note: Note) -> None:
        """Add a note."""
        topic, partition, offset, at, _ = note.source
        if note.flood:
            self._floods.setdefault((topic, partition), []).append(note)
        else:
            self._records.add(note.source)
            self._offsets.setdefault((topic, partition), []).append((offset, at))

    def not_redriven(self, dead_letter: DeadLetter) -> Ranges:
        """Return the offsets of a dead letter's records that were not redriven.

        A worker that died may have put a record into two floods, or into one and into a dead letter of its own. A topic
        that was recreated has the same offsets, at other times.
        """
        if dead_letter.offsets is None and dead_letter.source in self._records:
            return ()
        source, left = (dead_letter.topic, dead_letter.partition), dead_letter.ranges
        for note in self._floods.get(source, ()):
            if note.earliest_at <= dead_letter.latest_at and dead_letter.earliest_at <= note.latest_at:
                left = offset_ranges.without(left, note.ranges)
        if dead_letter.offsets is not None:
            earliest, latest = dead_letter.earliest_at, dead_letter.latest_at
            offsets = {offset for offset, at in self._offsets.get(source, ()) if earliest <= at <= latest}
            left = offset_ranges.without(left, offset_ranges.joined(sorted(offsets)))
        return left
