"""The records of a partition's log that became dead letters, by the dead-letter topic. Pure.

The fold skipped these records, and later events were folded without them. A newer version may be able to fold such a
record. A rebuild skips it all the same, or it would make states that never existed.

A dead letter alone does not prove that its record was skipped. The dead letter is sent before the commit. If the worker
died in between, a repaired worker may have folded the record. Then a published record names its position. So a record
counts as skipped only if no published record names its position.
"""

from zlib import crc32

from schemas.kafka.source_record import Failure, SourceRecord
from schemas.wire.cloudevents import MAX_BYTES
from worker.fold.dead_letter import OURS
from worker.fold.decoding import Decoder
from worker.recovery.dead_letters import DeadLetter

_Mark = tuple[bytes | None, int]


class SkippedRecords:
    """The skipped records of one partition of the events topic.

    Read dead letters first, then states and transitions. A record is identified by offset, key, time and bytes, since
    a topic that was recreated has the same offsets. Records that this version cannot decode are not stored: the replay
    makes dead letters of them again, and there may be millions.

    Args:
        partition, partitions: the partition's number, and how many there are.
    """

    def __init__(self, partition: int, partitions: int) -> None:
        self._decoder = Decoder(partition, partitions)
        self._marks: dict[int, set[_Mark]] = {}

    def __bool__(self) -> bool:
        """Whether any record was skipped."""
        return bool(self._marks)

    def read(self, record: SourceRecord, dead_letter: DeadLetter) -> None:
        """Note a dead letter of the partition, and the record of the dead-letter topic that holds it."""
        if (
            dead_letter.code in OURS
            or dead_letter.headers_cut
            or not isinstance(self._decoder.decode(record).event, Failure)
        ):
            mark = _mark(dead_letter.key, dead_letter.value, dead_letter.at, dead_letter.size)
            self._marks.setdefault(dead_letter.offset, set()).add(mark)

    def mark_folded(self, offset: int, key: bytes | None) -> None:
        """Note that a published record stems from the event with this key at this offset."""
        if offset in self._marks:
            self._marks[offset] = {mark for mark in self._marks[offset] if mark[0] != key}

    def contains(self, record: SourceRecord) -> bool:
        """Return whether the fold skipped this record of the log."""
        marks = self._marks.get(record.offset)
        if not marks:
            return False
        return _mark(record.key, record.value, record.timestamp, len(record.value or b"")) in marks


def _mark(key: bytes | None, value: bytes | None, at: int, size: int) -> _Mark:
    key = None if key is None else key[:MAX_BYTES]
    return key, crc32(f"{at} {size} {value is None}".encode(), crc32((value or b"")[:MAX_BYTES]))
