"""A lenient parser of the records in a batch of format 2, for batches on which aiokafka raises. Pure.

It reports a record with a header that is not UTF-8, and reads the other records.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from schemas.kafka.frames import HEADER_BYTES, Header
from schemas.kafka.source_record import MOST_HEADERS
from schemas.wire.cloudevents import Headers

_INT_BITS: Final = 35
_LONG_BITS: Final = 70
_FEWEST_HEADER_BYTES: Final = 2
# Reading one takes a microsecond here, on the event loop of all partitions.
_MOST_HEADERS_IN_ALL: Final = 500_000
_NOT_UTF8: Final = "the name of a header is not UTF-8, as Kafka's protocol has it; mend the producer, and send it again"


class Record(NamedTuple):
    """A record of a batch.

    Attributes:
        headers: its headers; empty if there are more than `MOST_HEADERS`.
        fault: why it violates the format or a bound, None if it does not.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    fault: str | None


def records_in(batch: bytes, header: Header) -> Iterator[Record]:
    """Yield the records of an uncompressed batch.

    Raises:
        ValueError: if its bytes are not the number of records in its header.
    """
    headers = 0
    for begin, end in _places(batch, header):
        record = _record(_Cursor(batch, begin, end), header)
        headers += len(record.headers)
        if headers > _MOST_HEADERS_IN_ALL:
            msg = f"its records have more than {_MOST_HEADERS_IN_ALL} headers"
            raise ValueError(msg)
        yield record


def has_many_headers(batch: bytes, header: Header) -> bool:
    """Tell whether a record of an uncompressed batch has too many headers, without creating any.

    Raises:
        ValueError: as `records_in`.
    """
    return any(
        end - begin > MOST_HEADERS * _FEWEST_HEADER_BYTES
        and _head(_Cursor(batch, begin, end), header).headers > MOST_HEADERS
        for begin, end in _places(batch, header)
    )


def _places(batch: bytes, header: Header) -> Iterator[tuple[int, int]]:
    cursor = _Cursor(batch, HEADER_BYTES, len(batch))
    for _ in range(header.records):
        length = cursor.varint(_INT_BITS)
        end = cursor.at + length
        if not cursor.at <= end <= cursor.end:
            msg = f"a record of {length} bytes, with {cursor.end - cursor.at} left"
            raise ValueError(msg)
        yield cursor.at, end
        cursor.at = end
    if cursor.at != cursor.end or header.records < 0:
        msg = f"{cursor.end - cursor.at} bytes behind its {header.records} records"
        raise ValueError(msg)


class _Head(NamedTuple):
    """A record without its headers, and their number."""

    timestamp: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: int


def _head(cursor: "_Cursor", header: Header) -> _Head:
    cursor.skip(1)  # The attributes, which are unused in this format.
    timestamp = header.first_timestamp + cursor.varint(_LONG_BITS)
    offset = header.base_offset + cursor.varint(_INT_BITS)
    key = cursor.field()
    value = cursor.field()
    count = cursor.varint(_INT_BITS)
    if not 0 <= count * _FEWEST_HEADER_BYTES <= cursor.end - cursor.at:
        msg = f"{count} headers in {cursor.end - cursor.at} bytes"
        raise ValueError(msg)
    return _Head(header.max_timestamp if header.timestamp_type else timestamp, offset, key, value, count)


def _record(cursor: "_Cursor", header: Header) -> Record:
    timestamp, offset, key, value, count = _head(cursor, header)
    if count > MOST_HEADERS:
        return Record(offset, timestamp, key, value, (), too_many(count))
    headers: list[tuple[str, bytes]] = []
    utf8 = True
    for _ in range(count):
        name = cursor.field()
        content = cursor.field()
        if name is None:
            msg = "a header without a name"
            raise ValueError(msg)
        text = name.decode(errors="backslashreplace")
        utf8 = utf8 and text.encode() == name
        # A header without a value is None, as aiokafka returns it and accepts it.
        headers.append((text, content))  # type: ignore[arg-type]
    if cursor.at != cursor.end:
        msg = f"{cursor.end - cursor.at} bytes behind a record's headers"
        raise ValueError(msg)
    return Record(offset, timestamp, key, value, headers, None if utf8 else _NOT_UTF8)


def too_many(headers: int) -> str:
    """Return the finding on a record with this number of headers."""
    return f"it has {headers} headers, more than {MOST_HEADERS}; mend the producer, and send it again"


class _Cursor:
    """A position in bytes. Each read moves it, and none reads past the end."""

    def __init__(self, raw: bytes, at: int, end: int) -> None:
        self.at = at
        self.end = end
        self._raw = raw

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > self.end:
            msg = "it ends too early"
            raise ValueError(msg)

    def varint(self, most_bits: int) -> int:
        """Read a zigzag-encoded number."""
        number = 0
        for shift in range(0, most_bits, 7):
            at = self.at
            self.skip(1)
            byte = self._raw[at]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
                return (number >> 1) ^ -(number & 1)
        msg = "a number that does not end"
        raise ValueError(msg)

    def field(self) -> bytes | None:
        """Read length-prefixed bytes; a negative length means None."""
        length = self.varint(_INT_BITS)
        if length < 0:
            return None
        begin = self.at
        self.skip(length)
        return self._raw[begin : self.at]
