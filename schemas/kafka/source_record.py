"""A record of a topic, and the `Unreadable` in place of one that cannot be read. Pure."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from schemas.wire.cloudevents import Headers

UNREADABLE_BATCH: Final = "unreadable_batch"
"""The code of a batch of which no record can be read."""
UNREADABLE_HEADER: Final = "unreadable_header"
"""The code of a record with a header whose name is not UTF-8, or with too many headers."""
MOST_HEADERS: Final = 1_000
"""The most headers of a record. Brokers set no limit, and clients send a few. Each takes 64 bytes more in memory."""
HEADER_BYTES: Final = 64
"""The memory of a header besides its bytes: its tuple, and its place in the list (CPython 3.11)."""


class SourceRecord(Protocol):
    """A Kafka record as aiokafka returns it; `timestamp` in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Parts(Protocol):
    """Anything with a key, a value and headers."""

    @property
    def key(self) -> bytes | None:
        """The key."""

    @property
    def value(self) -> bytes | None:
        """The value."""

    @property
    def headers(self) -> Headers:
        """The headers."""


def size_of(record: Parts) -> int:
    """Return the size of a record in bytes: its key, value and headers, and 64 for each header.

    Emitters may send any sizes, and any number of headers of two bytes.
    """
    size = len(record.key or b"") + len(record.value or b"")
    for name, content in record.headers:  # each record comes here more than once, and a generator takes twice as long
        size += HEADER_BYTES + len(name) + len(content or b"")
    return size


class Failure(NamedTuple):
    """Why a record is a dead letter; `ours` tells that our code failed on it, and not that the record is bad."""

    code: str
    message: str
    ours: bool = False


@dataclass(slots=True)
class Unreadable:
    r"""A batch that cannot be read, or one record that violates the format; a `SourceRecord`.

    Its `offset` is its last offset, so that the next record comes after all of it.

    Attributes:
        first, offset: the first offset and the last.
        timestamp: for a batch the latest time in its header, -1 if that cannot be trusted; ms.
        value: for a batch its bytes in the log, so that its CRC identifies it.
        headers: in names that are not UTF-8, `\xNN` replaces each invalid byte.
        failure: why it cannot be read.
    """

    topic: str
    partition: int
    first: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    failure: Failure

    @property
    def batch(self) -> bool:
        """Whether it replaces a complete batch."""
        return self.failure.code == UNREADABLE_BATCH
