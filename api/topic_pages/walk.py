"""A walk backward over a topic: the records of several partitions, those that were written last first.

Kafka reads forward only. So each partition is read in chunks, each before the one read last. The partitions are merged
by the time at which their records were written, and a partition whose chunk is used up gets the next one. So a busy
partition is read further than a quiet one, and both reach the same time.
"""

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

from api.adapters.dependency import UnavailableError
from api.adapters.transitions import OffsetRange, PlacedReader
from schemas.kafka.source_record import SourceRecord

SECONDS: Final = 5.0
"""How long the walk of one page may read."""
_POLL_SECONDS: Final = 1.0
_LARGEST_CHUNK: Final = 2_000
_LATEST: Final = 2**63

Kept = TypeVar("Kept")


class Bounds(NamedTuple):
    """What one walk may read, in records.

    Attributes:
        most: in all.
        first: in the first chunk of all partitions together. The chunks of a partition double from there on.
        ahead: after the cursor, of all partitions together. They tell which records were shown before.
    """

    most: int
    first: int
    ahead: int = 0


class Taken(NamedTuple, Generic[Kept]):
    """A record of a walk: where it is, when it was written, and what was kept of it."""

    partition: int
    offset: int
    written_at: int
    kept: Kept


class _Partition(Generic[Kept]):
    """One partition of a walk.

    Attributes:
        mark: all from this offset on is done.
        ready: the records that were read and not taken, in their order.
        reached: the offset from which on `ready` is complete.
    """

    def __init__(self, number: int, available: OffsetRange, mark: int, chunk: int) -> None:
        self.number = number
        self.end = available.end
        self.start = available.start
        self.mark = mark if mark > available.start else 0
        self.reached = self.mark
        self.chunk = max(1, chunk)
        self.ready: list[Taken[Kept]] = []
        self._written_at = _LATEST

    @property
    def done(self) -> bool:
        """Whether nothing is left to read or to take."""
        return not self.mark

    def accept(self, records: list[Taken[Kept]], reached: int, oldest: int | None) -> None:
        """Take the records of a chunk; nothing older is wanted if all of them were written before `oldest`."""
        self.chunk = min(2 * self.chunk, _LARGEST_CHUNK)
        if oldest is not None and records and max(record.written_at for record in records) < oldest:
            self.mark = self.reached = 0
            return
        self.ready, self.reached = records, reached
        if not records:
            self._pass()

    @property
    def next_written_at(self) -> int:
        """When the next record was written. Clocks step back, so it is never later than that of a later record."""
        written_at = self.ready[-1].written_at
        # What stands for an unreadable batch may have no time.
        return min(self._written_at, written_at) if written_at > 0 else self._written_at

    def take(self) -> Taken[Kept]:
        """Take the next record."""
        self._written_at = self.next_written_at
        record = self.ready.pop()
        self.mark = record.offset
        if not self.ready:
            self._pass()
        return record

    def _pass(self) -> None:
        """Note that the chunk is used up."""
        self.mark = self.reached if self.reached > self.start else 0


class Walk(Generic[Kept]):
    """One walk, for one page.

    Attributes:
        searched_until: the time from which on every record was taken, in ms; None before the first.

    Args:
        reader: of the topic.
        available: the offsets of each partition.
        marks: the offset in each partition below which the walk begins.
        keep: what is kept of a record. It is called for each one that is read, so that no large record stays in memory.
        bounds: of what is read.
        began_at: the present time in ms.
        oldest: a partition ends with a chunk that was written before this time, in ms.
        now: monotonic, in seconds.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        reader: PlacedReader,
        available: Mapping[int, OffsetRange],
        marks: Mapping[int, int],
        keep: Callable[[SourceRecord], Kept],
        bounds: Bounds,
        *,
        began_at: int,
        oldest: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.searched_until: int | None = None
        self._reader = reader
        self._keep = keep
        self._left = bounds.most
        self._ahead = bounds.ahead // len(marks)
        self._began_at = began_at
        self._oldest = oldest
        self._now = now
        self._latest = now() + SECONDS
        self._partitions: dict[int, _Partition[Kept]] = {
            number: _Partition(number, available[number], mark, bounds.first // len(marks))
            for number, mark in marks.items()
        }

    @property
    def marks(self) -> dict[int, int]:
        """The offset in each partition below which the next page begins; 0 where nothing is left."""
        return {number: partition.mark for number, partition in self._partitions.items()}

    async def begin(self) -> list[Taken[Kept]]:
        """Read the first chunks, and return the records right after the marks, in no order.

        Raises:
            UnavailableError: if they do not come in time, such as those of a partition without a leader.
        """
        ahead: list[Taken[Kept]] = []
        if not await self._read([each for each in self._partitions.values() if not each.done], ahead):
            finding = f"the topic could not be read within {SECONDS:g} s"
            raise UnavailableError("kafka", finding, finding)
        return ahead

    async def newest_first(self) -> AsyncIterator[Taken[Kept]]:
        """Yield records, until all are taken or the bounds are reached."""
        heap = [
            (-partition.next_written_at, number) for number, partition in self._partitions.items() if partition.ready
        ]
        heapq.heapify(heap)
        empty = [each for each in self._partitions.values() if not (each.done or each.ready)]
        while heap or empty:
            while empty:
                # The next record of these partitions may be the newest of all.
                if not await self._read(empty, []):
                    return
                for partition in empty:
                    if partition.ready:
                        heapq.heappush(heap, (-partition.next_written_at, partition.number))
                empty = [each for each in empty if not (each.done or each.ready)]
            if not heap:
                return
            partition = self._partitions[heap[0][1]]
            written_at = partition.next_written_at
            record = partition.take()
            self.searched_until = self._began_at if written_at == _LATEST else written_at
            if partition.ready:
                heapq.heapreplace(heap, (-partition.next_written_at, partition.number))
            else:
                heapq.heappop(heap)
                if not partition.done:
                    empty.append(partition)
            yield record

    async def _read(self, partitions: Collection[_Partition[Kept]], ahead: list[Taken[Kept]]) -> bool:
        """Read the next chunk of some partitions; return False, and change nothing, if the bounds are reached."""
        if not partitions:
            return True
        share = self._left // len(partitions)
        if share <= 0:
            return False
        begins = {each.number: max(each.start, each.mark - min(each.chunk, share)) for each in partitions}
        goals = {each.number: min(each.mark + self._ahead, each.end) for each in partitions}
        chunks = await self._chunks(begins, goals)
        if chunks is None:
            return False
        self._left -= sum(goals[number] - begin for number, begin in begins.items())
        self._ahead = 0
        for each in partitions:
            chunk = chunks[each.number]
            ahead += (record for record in chunk if record.offset >= each.mark)
            each.accept([record for record in chunk if record.offset < each.mark], begins[each.number], self._oldest)
        return True

    async def _chunks(self, begins: Mapping[int, int], goals: Mapping[int, int]) -> dict[int, list[Taken[Kept]]] | None:
        """Return the records between two offsets of each partition, None if they do not come in time."""
        chunks: dict[int, list[Taken[Kept]]] = {number: [] for number in begins}
        self._reader.seek(begins)
        pending = set(goals)
        while pending:
            seconds = min(self._latest - self._now(), _POLL_SECONDS)
            if seconds <= 0:
                return None
            for record in await self._reader.page(seconds):
                if begins[record.partition] <= record.offset < goals[record.partition]:
                    taken = self._keep(record)
                    chunks[record.partition].append(Taken(record.partition, record.offset, record.timestamp, taken))
            # Offsets may hold no record, so the records do not tell when a chunk is complete.
            pending = {number for number in pending if await self._reader.position(number) < goals[number]}
            # A page that is there at once would let no other request run.
            await asyncio.sleep(0)
        return chunks
