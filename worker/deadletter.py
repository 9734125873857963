"""Dead letters: where a record goes that cannot be folded, and the ceiling on our own failures."""

from collections import deque
from typing import Final, NamedTuple, Protocol

from schemas.cloudevents import MAX_BYTES, Headers
from worker.ports import Output

# DESIGN section 4: more than the ratio of the last 1,000 records, and at least 500 of them.
_WINDOW: Final = 1_000
_LEAST: Final = 500
_MESSAGE_CHARACTERS: Final = 4_000
# Of its own headers a record keeps this much: with key and value cut too, a dead letter always fits a batch.
_HEADER_BYTES: Final = 65_536
HEADERS_CUT: Final = ("sleep.error.cut", b"headers")
"""The header of a dead letter that lacks some of its record's."""
OURS: Final = frozenset({"decode_failed", "fold_failed"})
"""The codes of records on which our own code failed."""


class SourceRecord(Protocol):
    """A Kafka record as aiokafka hands it over; `timestamp` in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Failure(NamedTuple):
    """Why a record is a dead letter; `ours` tells that our code failed on it, and not that the record is bad."""

    code: str
    message: str
    ours: bool = False


def dead_letter(record: SourceRecord, failure: Failure) -> Output:
    """Return the dead letter of a record: its key and value, each cut at 64 KiB, and what happened as headers.

    Of its own headers it keeps the first 64 KiB; `sleep.error.cut` tells where some are missing.
    """
    value = record.value or b""
    found = {
        "code": failure.code,
        # What raised stands at the end of a traceback.
        "message": failure.message[-_MESSAGE_CHARACTERS:] if failure.ours else failure.message[:_MESSAGE_CHARACTERS],
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at": record.timestamp,
        "size": len(value),
    }
    headers = [(f"sleep.error.{name}", str(item).encode()) for name, item in found.items()]
    left = _HEADER_BYTES
    for name, content in record.headers:
        if name.startswith("sleep.error."):
            continue
        left -= len(name) + len(content or b"")
        if left < 0:
            headers.append(HEADERS_CUT)
            break
        headers.append((name, content))
    key = None if record.key is None else record.key[:MAX_BYTES]
    return Output(key, record.value if record.value is None else value[:MAX_BYTES], headers)


class Ceiling:
    """Counts the records of a partition on which our own code failed, over the last 1,000.

    Args:
        ratio: the share that is too much, 0 to 1; with 1 there is no ceiling.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._recent: deque[bool] = deque(maxlen=_WINDOW)
        self._failed = 0

    def count(self, *, failed: bool) -> None:
        """Note one more record."""
        if len(self._recent) == _WINDOW:
            self._failed -= self._recent[0]
        self._recent.append(failed)
        self._failed += failed

    @property
    def reached(self) -> bool:
        """Whether so many failed that it is a bad deploy rather than bad data."""
        return self._failed >= _LEAST and self._failed > self._ratio * len(self._recent)
