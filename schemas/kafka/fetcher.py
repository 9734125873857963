"""aiokafka's fetcher with this package's parser of batches: a consumer continues after any bytes in its topics.

aiokafka raises on a batch that it cannot parse, at the same offset again and again. Its consumer has no option for
another parser. So this module uses private names of aiokafka. `tests/unit/schemas/kafka` fails when they change.
"""

from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final
from weakref import WeakKeyDictionary
from zlib import crc32

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher as aiokafka_fetcher
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords

from schemas.kafka.batches import MOST_BYTES, Content, DamagedError, Place, read, unreadable
from schemas.kafka.frames import frames_in
from schemas.kafka.source_record import SourceRecord, size_of

log = structlog.get_logger("schemas.kafka.fetcher")
# A batch that is damaged in transit differs each time. One that is damaged on disk is the same twice.
_MOST_LOOKS: Final = 3
_UNKNOWN_END: Final = 1 << 62
# A call returns a partition's records up to this size and one more. aiokafka limits only their number.
_MOST_TAKEN_BYTES: Final = 1 << 20
# The memory for expanded batches of all partitions of a consumer: two of the largest.
_MOST_EXPANDED_BYTES: Final = 2 * MOST_BYTES


class AnyBytesConsumer(AIOKafkaConsumer):  # type: ignore[misc] # aiokafka has no types here
    """aiokafka's consumer that returns an `Unreadable` in place of each batch that it cannot read."""

    async def start(self) -> None:
        """Connect."""
        await super().start()
        read_any_bytes(self)


def read_any_bytes(consumer: AIOKafkaConsumer) -> None:
    """Make a started consumer return an `Unreadable` in place of each batch that it cannot read."""
    fetcher: Fetcher = consumer._fetcher  # noqa: SLF001 - see above
    names = vars(aiokafka_fetcher) | {
        "FetchResult": partial(_bounded, fetcher),
        "MemoryRecords": _Answer,
        "PartitionRecords": partial(_Records, partial(_end, fetcher), _DamagedBatches(), _ExpandedMemory()),
    }
    fetch = FunctionType(Fetcher._proc_fetch_request.__code__, names)  # noqa: SLF001 - see above
    fetcher._proc_fetch_request = MethodType(fetch, fetcher)  # noqa: SLF001 - see above


def _end(fetcher: Fetcher, tp: TopicPartition) -> int:
    """Return the end offset of a partition in the answer that is being read."""
    end: int = fetcher._subscriptions.subscription.assignment.state_value(tp).highwater  # noqa: SLF001 - see above
    return end


def _bounded(fetcher: Fetcher, tp: TopicPartition, **options: Any) -> FetchResult:  # noqa: ANN401 - aiokafka's
    """Return the result of a fetch, whose records are taken in parts of at most `_MOST_TAKEN_BYTES`."""
    result = FetchResult(tp, **options)
    # aiokafka does not accept a subclass as a result.
    result.getall = partial(_take, fetcher, tp, result)
    return result


def _take(
    fetcher: Fetcher, tp: TopicPartition, result: FetchResult, max_records: int | None = None
) -> list[SourceRecord]:
    """Return the next records of a result. A partition with more records moves to the end of the queue.

    aiokafka would read the answer of one partition to its end, however long the other partitions wait.
    """
    if not result.check_assignment(tp) or not result.has_more():
        return []
    records: list[SourceRecord] = []
    size = 0
    for record in result._partition_records:  # noqa: SLF001 - see above
        records.append(record)
        size += size_of(record)
        if len(records) == max_records or size >= _MOST_TAKEN_BYTES:
            fetcher._records.move_to_end(tp)  # noqa: SLF001 - see above
            break
    else:
        result._update_position()  # noqa: SLF001 - see above
        result._partition_records = None  # noqa: SLF001 - see above
        return records
    result._update_position()  # noqa: SLF001 - see above
    return records


class _Answer:
    """The fetched bytes of a partition, in place of `MemoryRecords`.

    Attributes:
        bytes: all bytes.
        read: the number of bytes already read.
    """

    def __init__(self, answer: bytes | None) -> None:
        self.bytes = answer or b""
        self.read = 0

    def unread(self) -> bytes:
        """Return the bytes from the current batch on."""
        return self.bytes[self.read :]

    def has_next(self) -> bool:
        return bool(self.bytes)

    def size_in_bytes(self) -> int:
        return len(self.bytes)


class _DamagedBatches:
    """The last damaged batch of each partition, which is fetched again before it counts as unreadable."""

    def __init__(self) -> None:
        self._last: dict[TopicPartition, tuple[int, set[int]]] = {}

    def is_new(self, tp: TopicPartition, offset: int, raw: bytes) -> bool:
        """Record a damaged batch, and tell whether to fetch it once more."""
        last_offset, checksums = self._last.get(tp, (offset, set()))
        if last_offset != offset:
            checksums = set()
        checksum = crc32(raw)
        if checksum in checksums or len(checksums) >= _MOST_LOOKS:
            return False
        self._last[tp] = offset, {*checksums, checksum}
        return True


class _ExpandedMemory:
    """The memory of expanded batches of all partitions of a consumer.

    A batch stays expanded until its last record was taken. If there are too many such batches, the oldest one is
    released, and expanded again when its partition is read. So no partition waits for another.
    """

    def __init__(self) -> None:
        self._taken: WeakKeyDictionary[_Records, int] = WeakKeyDictionary()

    def take(self, records: "_Records", size: int) -> None:
        """Record the size in bytes of a partition's current batch."""
        self._taken.pop(records, None)
        if not size:
            return
        self._taken[records] = size
        for older in list(self._taken):
            if sum(self._taken.values()) <= _MOST_EXPANDED_BYTES:
                return
            if older is not records:
                del self._taken[older]
                older.begin_again()


class _Records(PartitionRecords):  # type: ignore[misc] # aiokafka has no types here
    """The records of one answer, in place of aiokafka's own class."""

    next_fetch_offset: int

    def __init__(
        self,
        end: Callable[[TopicPartition], int],
        damaged: _DamagedBatches,
        memory: _ExpandedMemory,
        tp: TopicPartition,
        *args: Any,  # noqa: ANN401 - aiokafka's
    ) -> None:
        self._damaged = damaged
        self._memory = memory
        self._end = end(tp)
        super().__init__(tp, *args)
        self._requested_offset = self.next_fetch_offset
        if self._end <= self.next_fetch_offset:
            self._end = _UNKNOWN_END

    def begin_again(self) -> None:
        """Release the current batch. It is read again after the last record that was taken."""
        self._records_iterator = self._unpack_records()

    def _unpack_records(self) -> Iterator[SourceRecord]:
        """Yield the records, without markers of transactions. Records of aborted transactions are included."""
        for records, next_offset, expanded in self._contents():
            self._memory.take(self, expanded)
            for record in records:
                if record.offset >= self.next_fetch_offset:
                    self.next_fetch_offset = record.offset + 1
                    yield record
            self.next_fetch_offset = max(self.next_fetch_offset, next_offset)
            self._memory.take(self, 0)
            del records  # Before the next batch is expanded.

    def _contents(self) -> Iterator[Content]:
        topic, partition = self._tp
        begun = False
        for frame in frames_in(self._records.unread()):
            place = Place(topic, partition, self.next_fetch_offset, self._end, begun)
            try:
                yield read(frame, place)
            except DamagedError as error:
                if self._damaged.is_new(self._tp, place.position, frame.raw):
                    log.warning("batch_damaged", topic=topic, partition=partition, offset=place.position)
                    return  # The rest of the answer is dropped, so the next fetch begins here.
                yield unreadable(frame, place, str(error))
            begun = True
            self._records.read += len(frame.raw)
        if self.next_fetch_offset == self._requested_offset:
            # The answer lies before the requested offset, which would be requested again and again.
            place = Place(topic, partition, self._requested_offset, self._end, begun)
            yield unreadable(next(frames_in(self._records.bytes)), place, "it is not what was asked for")
