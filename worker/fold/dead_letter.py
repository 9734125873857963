"""Dead letters for records that cannot be folded, and the ceiling on failures of our own code."""

from collections import deque
from typing import Final

from schemas.kafka.source_record import HEADER_BYTES, Failure, SourceRecord, Unreadable
from schemas.wire.cloudevents import MAX_BYTES
from worker.ports import Output

# From specification.md#dead-letters: more than the ratio of the last 1,000 records, and at least 500 of them.
_WINDOW: Final = 1_000
_LEAST: Final = 500
_MESSAGE_CHARACTERS: Final = 4_000
# How many bytes of its own headers a record keeps. With key and value cut too, a dead letter always fits a batch.
_HEADER_BYTES: Final = 65_536
PREFIX: Final = "sleep.error."
"""The first part of the names of a dead letter's own headers."""
REDRIVE_OF: Final = "sleep.redrive.of"
"""The header of a redriven record, and of the note about it: the place of its dead letter."""
HEADERS_CUT: Final = ("sleep.error.cut", b"headers")
"""The header of a dead letter that lacks some headers of its record."""
COUNT: Final = "sleep.error.count"
"""The header of a dead letter of many records: how many they are."""
OFFSETS: Final = "sleep.error.offsets"
"""The header of a dead letter of many records: all their offsets, in order, as in `3-7,9,12-40`."""
TIMES: Final = ("sleep.error.earliest_at", "sleep.error.latest_at")
"""The headers of a dead letter of many records: their earliest and their latest timestamp, ms."""
OURS: Final = frozenset({"decode_failed", "fold_failed"})
"""The codes of records on which our own code failed."""


def dead_letter(record: SourceRecord, failure: Failure) -> Output:
    """Return the dead letter of a record: its key and value, each cut at 64 KiB, and the error as headers.

    It keeps the first 64 KiB of the record's own headers; `sleep.error.cut` says that some are missing. The dead letter
    of an unreadable batch has the bytes of the batch as value, and its first and last offset as headers.
    """
    value = record.value or b""
    fields = {
        "code": failure.code,
        # The error is at the end of a traceback.
        "message": failure.message[-_MESSAGE_CHARACTERS:] if failure.ours else failure.message[:_MESSAGE_CHARACTERS],
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at": record.timestamp,
        "size": len(value),
    }
    if isinstance(record, Unreadable) and record.batch:
        fields |= {"first_offset": record.first, "last_offset": record.offset}
    headers = [(f"sleep.error.{name}", str(item).encode()) for name, item in fields.items()]
    remaining = _HEADER_BYTES
    for name, content in record.headers:
        if name.startswith("sleep.error."):
            continue
        remaining -= HEADER_BYTES + len(name) + len(content or b"")
        if remaining < 0:
            headers.append(HEADERS_CUT)
            break
        headers.append((name, content))
    key = None if record.key is None else record.key[:MAX_BYTES]
    return Output(key, record.value if record.value is None else value[:MAX_BYTES], headers)


def count_of(dead_letter: Output) -> int:
    """Return how many records a dead letter is for."""
    return next((int(count) for name, count in dead_letter.headers if name == COUNT), 1)


class Ceiling:
    """Counts on how many of the last 1,000 records of a partition our own code failed.

    Args:
        ratio: the share that must not be exceeded, 0 to 1; with 1 there is no ceiling.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._recent: deque[bool] = deque(maxlen=_WINDOW)
        self._failed = 0

    def count(self, *, failed: bool) -> None:
        """Count one more record."""
        if len(self._recent) == _WINDOW:
            self._failed -= self._recent[0]
        self._recent.append(failed)
        self._failed += failed

    @property
    def reached(self) -> bool:
        """Whether so many failed that the cause is a bad deploy rather than bad data."""
        return self._failed >= _LEAST and self._failed > self._ratio * len(self._recent)
