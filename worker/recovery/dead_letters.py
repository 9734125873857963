"""Dead letters as they are read back: what each says of itself, its record, and that record's way back. Pure.

A note on the dead-letter topic says that a record was redriven, so that every process knows it. The note names the
record's source. The redriven record has the place of its dead letter in a header. If it becomes a dead letter again,
the new dead letter has that header too. Earlier versions ignore notes.

The dead letter of a flood stands for many records, and lists their offsets. A redrive reads these records again from
their topic, and notes which of them were redriven (`worker.recovery.notes`).
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from schemas.kafka import offset_ranges
from schemas.kafka.offset_ranges import Ranges
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import UNREADABLE_BATCH, UNREADABLE_HEADER, Parts, SourceRecord
from schemas.wire.cloudevents import MAX_BYTES, Headers
from worker.fold.dead_letter import PREFIX, REDRIVE_OF
from worker.ports import Output

SourceKey = tuple[str, int, int, int, int]
_NOT_SENDABLE: Final = {
    UNREADABLE_BATCH: "no record of its batch can be read: the producer has to send them again",
    UNREADABLE_HEADER: "the name of a header is not UTF-8, so only the producer can send it again",
}


class DeadLetter(NamedTuple):
    """A record that could not be used, or a flood of them.

    Attributes:
        place: its partition and offset on the dead-letter topic, `P:O`.
        code, message: why it could not be used.
        topic, partition, offset: where the record came from.
        at: the record's timestamp there, ms.
        size: the bytes of the record's full value.
        key, value, headers: of the record, each cut at 64 KiB; of a flood, those of the first record.
        headers_cut: whether headers are missing.
        records: how many records it stands for.
        offsets: of a flood the offsets of all its records as text, else None.
        earliest_at, latest_at: the earliest and the latest timestamp of its records, ms.
    """

    place: str
    code: str
    message: str
    topic: str
    partition: int
    offset: int
    at: int
    size: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    headers_cut: bool = False
    records: int = 1
    offsets: str | None = None
    earliest_at: int = -1
    latest_at: int = -1

    @classmethod
    def of(cls, record: SourceRecord) -> "DeadLetter":
        """Return the dead letter in a record of the topic.

        Raises:
            ValueError: if a header of a dead letter is missing or invalid.
        """
        facts = {name.removeprefix(PREFIX): text.decode() for name, text in record.headers if name.startswith(PREFIX)}
        headers = [(name, content) for name, content in record.headers if not name.startswith(PREFIX)]
        place = f"{record.partition}:{record.offset}"
        try:
            dead_letter = cls(
                place=place,
                code=facts["code"],
                message=facts["message"],
                topic=facts["topic"],
                partition=int(facts["partition"]),
                offset=int(facts["offset"]),
                at=int(facts["at"]),
                size=int(facts["size"]),
                key=record.key,
                value=record.value,
                headers=headers,
                headers_cut="cut" in facts,
                records=int(facts.get("count", 1)),
                offsets=facts.get("offsets"),
                earliest_at=int(facts.get("earliest_at", facts["at"])),
                latest_at=int(facts.get("latest_at", facts["at"])),
            )
        except KeyError as error:
            msg = f"{place} is not a dead letter: it has no header {PREFIX}{error.args[0]}"
            raise ValueError(msg) from None
        if dead_letter.offsets is not None:
            offset_ranges.parse(dead_letter.offsets)
        return dead_letter

    @property
    def ranges(self) -> Ranges:
        """The offsets of its records."""
        return offset_ranges.parse(str(self.offset) if self.offsets is None else self.offsets)

    def may_hold(self, record: SourceRecord) -> bool:
        """Return whether a record with one of a flood's offsets may belong to it; a topic may have been recreated."""
        if record.offset == self.offset:
            return (record.timestamp, len(record.value or b"")) == (self.at, self.size)
        return self.earliest_at <= record.timestamp <= self.latest_at

    @property
    def source(self) -> SourceKey:
        """The record's identity: place, time and size. A topic that was recreated has the same places."""
        return self.topic, self.partition, self.offset, self.at, self.size

    @property
    def earlier(self) -> str | None:
        """The place of the former dead letter, if this record was redriven and failed again; else None."""
        return next((place.decode(errors="replace") for name, place in self.headers if name == REDRIVE_OF), None)

    @property
    def cut(self) -> bool:
        """Whether a part of the record is missing, so that it cannot be redriven."""
        return self.headers_cut or self.size > MAX_BYTES or len(self.key or b"") >= MAX_BYTES


class RedriveRecord(NamedTuple):
    """A record to send again, and where to."""

    dead_letter: DeadLetter
    topic: str
    partition: int
    output: Output


def in_order(dead_letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
    """Yield dead letters in the order of their records, each record once.

    A worker that died may have sent two dead letters of one record. Within a partition the order is that of the
    offsets; between partitions it is that of the times.
    """
    distinct = {(each.source, each.offsets or ""): each for each in dead_letters}
    latest: dict[tuple[str, int], int] = {}
    timed = []
    for (source, offsets), dead_letter in sorted(distinct.items()):
        # A broker's clock may step back; an offset never does.
        latest[source[:2]] = max(latest.get(source[:2], dead_letter.at), dead_letter.at)
        timed.append((latest[source[:2]], source, offsets, dead_letter))
    for *_, dead_letter in sorted(timed, key=lambda item: item[:3]):
        yield dead_letter


def record_to_redrive(
    dead_letter: DeadLetter, events: str, partitions: int, sources: Iterable[str]
) -> RedriveRecord | str:
    """Return the record to send, or the reason why it cannot be sent.

    Args:
        dead_letter: the dead letter of one record.
        events: the events topic; there the key determines the partition.
        partitions: how many partitions the events topic has.
        sources: the topics that workers read.
    """
    if dead_letter.code in _NOT_SENDABLE:
        return _NOT_SENDABLE[dead_letter.code]
    if dead_letter.headers_cut:
        return f"its headers were cut: {MAX_BYTES} bytes of them are kept"
    if dead_letter.cut:
        return f"its key or value was cut: it had {dead_letter.size} bytes, and {MAX_BYTES} are kept"
    if dead_letter.topic not in sources:
        return f"it came from {dead_letter.topic}, which no worker reads"
    partition = dead_letter.partition
    if dead_letter.topic == events and dead_letter.key is not None:
        try:
            partition = partition_of(dead_letter.key.decode(), partitions)
        except UnicodeDecodeError:
            return "its key is not text, so it would be a dead letter again"
    return RedriveRecord(dead_letter, dead_letter.topic, partition, redrive_output(dead_letter, dead_letter))


def why_flood_stays(dead_letter: DeadLetter, sources: Iterable[str]) -> str | None:
    """Return why the records of a flood cannot be read again from their topic, None if they can."""
    if dead_letter.code in _NOT_SENDABLE:
        return _NOT_SENDABLE[dead_letter.code]
    return (
        None if dead_letter.topic in sources else f"they came from {dead_letter.topic}, which is not an ingress topic"
    )


def redrive_output(dead_letter: DeadLetter, record: Parts) -> Output:
    """Return a record of a dead letter as it is sent again."""
    # The new header comes first, since a dead letter keeps the first headers.
    headers = [header for header in record.headers if header[0] != REDRIVE_OF]
    return Output(record.key, record.value, [(REDRIVE_OF, dead_letter.place.encode()), *headers])
