"""The records of a fetched batch, or one `Unreadable` record in place of a batch that cannot be read. Pure.

aiokafka reads most batches. A batch on which it raises is read by a lenient parser. A batch that this parser cannot
read either becomes an `Unreadable` with its offsets. Whatever its bytes are, reading continues after the batch.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.structs import ConsumerRecord

from schemas.errors import SchemasError
from schemas.kafka import legacy_messages as legacy
from schemas.kafka.codecs import decompress
from schemas.kafka.frames import HEADER_BYTES, MAGIC, Frame, Header
from schemas.kafka.records import has_many_headers, records_in, too_many
from schemas.kafka.source_record import (
    MOST_HEADERS,
    UNREADABLE_BATCH,
    UNREADABLE_HEADER,
    Failure,
    SourceRecord,
    Unreadable,
)

NO_TIMESTAMP: Final = -1
MOST_BYTES: Final = 32 << 20
"""The largest expanded batch: about ten times the largest batch that a broker accepts by default."""
MOST_RECORDS: Final = 500_000
"""The most records of a batch. With more of them in `MOST_BYTES` each has 67 bytes, and no event is that short."""
# A record in memory takes about 500 bytes more than in its batch. A larger batch makes its records one by one.
_MOST_AT_ONCE: Final = 2_000
# A smaller batch has at most half a million headers, which take 32 MB for a moment.
_LARGE_BYTES: Final = 1_100_000


class DamagedError(SchemasError):
    """A batch is damaged. Another fetch may return it undamaged."""

    def __init__(self) -> None:
        super().__init__("its CRC or its length is wrong: it was damaged on a disk or on its way")


class Place(NamedTuple):
    """The position of a fetched answer.

    Attributes:
        topic, partition: the partition.
        position: the next offset to read.
        end: the end offset of the partition.
        begun: whether a batch of the answer was already read. Only the first batch may begin before `position`.
    """

    topic: str
    partition: int
    position: int
    end: int
    begun: bool


class Content(NamedTuple):
    """The content of a batch.

    Attributes:
        records: in order, to be iterated once.
        next: the offset after the batch.
        expanded: the memory of the records in bytes, besides the answer.
    """

    records: Iterable[SourceRecord]
    next: int
    expanded: int = 0


def read(frame: Frame, place: Place) -> Content:
    """Return the content of a batch.

    Raises:
        DamagedError: if its CRC or its length is wrong.
    """
    batch = frame.batch
    if not frame.intact:
        raise DamagedError
    try:
        if batch is not None:
            return _read(frame, batch, place)
        if 0 <= frame.magic < MAGIC:
            return _read_old(frame, place)
        msg = f"its format has the number {frame.magic}, which is not known"
        raise ValueError(msg)  # noqa: TRY301 - reported like all other errors of a batch
    except Exception as error:  # noqa: BLE001 - the partition continues after any error of the libraries
        return unreadable(frame, place, str(error) or repr(error))


def unreadable(frame: Frame, place: Place, reason: str) -> Content:
    """Return one `Unreadable` record in place of all records of a batch."""
    base, batch = frame.base_offset, frame.batch
    header = None if batch is None else Header.of(frame.raw)
    has_last_offset = batch is not None and batch.last_offset_delta >= 0
    last = batch.next_offset - 1 if batch is not None and has_last_offset else base
    trusted = frame.intact and has_last_offset
    if frame.following is not None:
        last = min(last, frame.following - 1) if trusted else frame.following - 1
    elif not trusted and last != place.end - 1:
        last = base
    last = max(min(last, place.end - 1), place.position)
    # A fetch may begin in the middle of a batch. The dead letter must be the same.
    first = base if 0 <= base <= last and (base >= place.position or not place.begun) else place.position
    message = f"the batch of offsets {first} to {last} cannot be read: {reason}; its producer has to send them again"
    record = Unreadable(
        topic=place.topic,
        partition=place.partition,
        first=first,
        offset=last,
        timestamp=header.max_timestamp if header is not None and frame.intact else NO_TIMESTAMP,
        timestamp_type=header.timestamp_type if header is not None else 0,
        key=None,
        value=frame.raw,
        headers=(),
        failure=Failure(UNREADABLE_BATCH, message),
    )
    return Content([record], last + 1)


def _read(frame: Frame, batch: DefaultRecordBatch, place: Place) -> Content:
    base, delta = batch.base_offset, batch.last_offset_delta
    last = base + delta
    if delta < 0:
        msg = f"it ends {-delta} offsets before it begins"
        raise ValueError(msg)
    if base < place.position and place.begun:
        msg = f"it begins at {base}, and {place.position} comes next"
        raise ValueError(msg)
    if last < place.position:
        return Content([], place.position)
    if batch.is_control_batch:
        return Content([], last + 1 if frame.following is None else min(last + 1, frame.following))
    raw = frame.raw
    _require_few(Header.of(raw).records)
    if batch.compression_type:
        plain = decompress(batch.compression_type, memoryview(raw)[HEADER_BYTES:], MOST_BYTES)
        raw = Header.of(raw).uncompressed(plain)
        del plain
    last = min(last, place.end - 1)
    header = Header.of(raw)
    try:
        if len(raw) > _LARGE_BYTES and has_many_headers(raw, header):
            records, newest = _checked(lambda: _lenient_records(raw, header, place, last), header.records)
        else:
            records, newest = _checked(lambda: _records_of(DefaultRecordBatch(raw), place, base, last), header.records)
    except Exception:  # noqa: BLE001 - the lenient parser reports the cause
        records, newest = _checked(lambda: _lenient_records(raw, header, place, last), header.records)
    newest = base - 1 if newest is None else newest
    expanded = len(raw) if header.codec != Header.of(frame.raw).codec else 0
    if frame.following is None and newest >= place.position:
        # Compaction may have removed its last records. Then the next fetch returns it again, without new records.
        return Content(records, newest + 1, expanded)
    if frame.following is None or frame.following > last:
        return Content(records, last + 1, expanded)
    if frame.following <= newest and header.records != delta + 1:
        msg = f"it ends at {newest}, and the next one begins at {frame.following}"
        raise ValueError(msg)
    return Content(records, max(newest + 1, place.position), expanded)


def _read_old(frame: Frame, place: Place) -> Content:
    """Read a batch in a format before Kafka 0.11: the offset in its header is that of its last record."""
    batch = LegacyRecordBatch(frame.raw, frame.magic)
    if not batch.validate_crc():
        msg = "its CRC is wrong"
        raise ValueError(msg)
    last = frame.base_offset
    if last >= place.end or (frame.following is not None and last >= frame.following):
        msg = f"it ends at {last}, and the log ends or goes on before"
        raise ValueError(msg)
    if not legacy.compressed(frame.raw):
        return Content(list(_records_of(batch, place, 0, last)), max(last + 1, place.position))
    wrapper = legacy.unwrap(frame.raw, frame.magic, MOST_BYTES)
    _require_few(wrapper.records)
    records, _ = _checked(lambda: _records_of(wrapper.messages(), place, 0, last), wrapper.records)
    return Content(records, max(last + 1, place.position), len(wrapper.plain))


def _require_few(count: int) -> None:
    if count > MOST_RECORDS:
        msg = f"it holds {count} records, more than {MOST_RECORDS}"
        raise ValueError(msg)


def _checked(
    read_records: Callable[[], Iterator[SourceRecord]], count: int
) -> tuple[Iterable[SourceRecord], int | None]:
    """Return records that can all be read, and the offset of the last one, None without records.

    Many records are first read for a check, and are then read again one by one, so that few are in memory at a time.

    Raises:
        Exception: any error from reading one of them.
    """
    if count <= _MOST_AT_ONCE:
        records = list(read_records())
        return records, records[-1].offset if records else None
    newest = None
    for record in read_records():
        newest = record.offset
    return read_records(), newest


def _records_of(batch: Iterable[Any], place: Place, first: int, last: int) -> Iterator[SourceRecord]:
    """Yield the records of a batch as aiokafka reads them.

    Raises:
        ValueError: if their offsets are not in order or not within the batch. aiokafka does not check that.
    """
    topic, partition, *_ = place
    previous = first - 1
    for record in batch:
        offset = record.offset
        if not previous < offset <= last:
            raise _disorder(offset, previous, last)
        previous = offset
        key, value, timestamp = record.key, record.value, record.timestamp
        if len(record.headers) > MOST_HEADERS:
            yield Unreadable(
                topic,
                partition,
                offset,
                offset,
                NO_TIMESTAMP if timestamp is None else timestamp,
                record.timestamp_type,
                key,
                value,
                (),
                Failure(UNREADABLE_HEADER, too_many(len(record.headers))),
            )
            continue
        yield ConsumerRecord(
            topic,
            partition,
            offset,
            NO_TIMESTAMP if timestamp is None else timestamp,
            record.timestamp_type,
            key,
            value,
            record.checksum,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            tuple(record.headers),
        )


def _lenient_records(raw: bytes, header: Header, place: Place, last: int) -> Iterator[SourceRecord]:
    """Yield the records of a batch on which aiokafka raises; invalid records as `Unreadable`.

    Raises:
        ValueError: if its bytes are not records.
    """
    previous = header.base_offset - 1
    for record in records_in(raw, header):
        if not previous < record.offset <= last:
            raise _disorder(record.offset, previous, last)
        previous = record.offset
        yield (
            ConsumerRecord(
                place.topic,
                place.partition,
                record.offset,
                record.timestamp,
                header.timestamp_type,
                record.key,
                record.value,
                None,
                -1 if record.key is None else len(record.key),
                -1 if record.value is None else len(record.value),
                tuple(record.headers),
            )
            if record.fault is None
            else Unreadable(
                place.topic,
                place.partition,
                record.offset,
                record.offset,
                record.timestamp,
                header.timestamp_type,
                record.key,
                record.value,
                record.headers,
                Failure(UNREADABLE_HEADER, record.fault),
            )
        )


def _disorder(offset: int, previous: int, last: int) -> ValueError:
    return ValueError(f"a record has the offset {offset}, which is not between {previous} and {last}")
