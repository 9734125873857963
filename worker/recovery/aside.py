"""The records of a partition's log that were set aside, as the dead-letter topic tells.

A dead letter is part of history: what was folded behind it was folded without it. Where a worker failed on a record
and another version would not, a rebuild that folded the record after all would make states that never were.

A dead letter alone does not prove that its record was passed over. It is sent before the commit, so a worker may have
died in between, and a mended one folded the record in its place. What that one published then names the position.
So a record counts as set aside only where nothing published does.
"""

from zlib import crc32

from schemas.cloudevents import MAX_BYTES
from worker.batch import Decoder
from worker.deadletter import OURS, Failure, SourceRecord
from worker.recovery.redrive import DeadLetter

_Mark = tuple[bytes | None, int]


class SetAside:
    """What was set aside of one partition of the events topic.

    Dead letters are read first, then what was published. A record is known again by its offset, key, time and bytes:
    a topic that was made anew has the same offsets. Records that cannot be decoded today either are not kept, since
    they are dead letters again; there may be millions of them.

    Args:
        partition, partitions: the partition's number, and how many there are.
    """

    def __init__(self, partition: int, partitions: int) -> None:
        self._decoder = Decoder(partition, partitions)
        self._marks: dict[int, set[_Mark]] = {}

    def __bool__(self) -> bool:
        """Whether anything was set aside."""
        return bool(self._marks)

    def read(self, record: SourceRecord, letter: DeadLetter) -> None:
        """Take a dead letter of the partition, and the record that it was read from."""
        if letter.code in OURS or letter.headers_cut or not isinstance(self._decoder.decode(record).event, Failure):
            mark = _mark(letter.key, letter.value, letter.at, letter.size)
            self._marks.setdefault(letter.offset, set()).add(mark)

    def folded(self, offset: int, key: bytes | None) -> None:
        """Note that something was published of the record with this key at this offset."""
        if offset in self._marks:
            self._marks[offset] = {mark for mark in self._marks[offset] if mark[0] != key}

    def holds(self, record: SourceRecord) -> bool:
        """Tell whether a record of the log was set aside."""
        marks = self._marks.get(record.offset)
        if not marks:
            return False
        return _mark(record.key, record.value, record.timestamp, len(record.value or b"")) in marks


def _mark(key: bytes | None, value: bytes | None, at: int, size: int) -> _Mark:
    key = None if key is None else key[:MAX_BYTES]
    return key, crc32(f"{at} {size} {value is None}".encode(), crc32((value or b"")[:MAX_BYTES]))
