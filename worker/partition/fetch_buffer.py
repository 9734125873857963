"""The records that were fetched for a lane and are not folded yet: order, lost batches, generations, back-pressure.

A batch normally begins where the last one ended. Offsets may have gaps, so the first batch after a seek may begin
later: the lane then asks the broker whether records are missing. Any later batch that begins elsewhere shows that a
batch was lost: it is dropped, and the lane seeks again. Each seek begins a generation. A batch that was fetched under
an older generation, or for an earlier lane of the partition, is dropped.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from schemas.kafka.source_record import SourceRecord, Unreadable, size_of
from worker.ports import Clock

_MAX_RECORDS: Final = 2_000
_MAX_BYTES: Final = 1 << 20
# Two batches: one is collected while one is processed. With a slow store the worker gets slower, not bigger.
_QUEUED_RECORDS: Final = 2 * _MAX_RECORDS
_QUEUED_BYTES: Final = 2 * _MAX_BYTES
_FUTURE_MS: Final = 60_000
_FUTURE_POLL_SECONDS: Final = 1.0
# Shared by all lanes: a batch fetched for one lane may arrive at the next lane of the partition.
_generations: Final = count(1)


class FetchedBatch(NamedTuple):
    """One fetched batch of a partition: the generation of the seek before it, and its records in order."""

    generation: int
    records: Sequence[SourceRecord]


class FetchBuffer:
    """The queue between the transport, which never waits, and the lane.

    Attributes:
        generation: the number of the present generation. No other buffer of the process has or had it.
        problem: why `take` waits although records are queued, else None.
        ahead_ms: by how much the last fetched record was ahead of the clock, 0 if it was not.
    """

    def __init__(self, clock: Clock, log: FilteringBoundLogger) -> None:
        self.generation = next(_generations)
        self.problem: str | None = None
        self.ahead_ms = 0
        self._clock = clock
        self._log = log
        self._queue: deque[SourceRecord] = deque()
        self._sizes: deque[int] = deque()  # of the queued records, in bytes
        self._queued_bytes = 0
        self._unacknowledged: deque[tuple[int, Callable[[], object]]] = deque()
        self._arrived = asyncio.Event()
        self._seek_to: int | None = None
        # The offset that the next fetched batch should begin with; None until a seek has been asked for.
        self._expected: int | None = None
        self._sought = False

    @property
    def open(self) -> bool:
        """Whether the buffer wants more records."""
        full = len(self._queue) >= _QUEUED_RECORDS or self._queued_bytes >= _QUEUED_BYTES
        return self._expected is not None and not full

    def seek(self, offset: int) -> None:
        """Begin a generation at an offset. The transport seeks there before its next fetch."""
        self.drop()
        self._expected = self._seek_to = offset
        self._sought = True

    def take_seek(self) -> int | None:
        """Return the offset to seek to before the next fetch, once, or None."""
        seek_to, self._seek_to = self._seek_to, None
        return seek_to

    def drop(self) -> None:
        """Drop the queued records, and want none until the next seek; a `take` that waits returns none."""
        self.generation = next(_generations)
        self._expected = self._seek_to = None
        self._queue.clear()
        self._sizes.clear()
        self._queued_bytes = 0
        while self._unacknowledged:
            self._unacknowledged.popleft()[1]()
        self._arrived.set()

    def offer(self, fetched: FetchedBatch, acknowledge: Callable[[], object]) -> None:
        """Queue a fetched batch, or drop it if it is not the next one; never waits."""
        if fetched.generation != self.generation or self._expected is None or not fetched.records:
            acknowledge()
            return
        first = _first_offset(fetched.records[0], self._expected)
        if first < self._expected or (first > self._expected and not self._sought):
            self._log.warning("batch_lost", expected=self._expected, actual=first)
            acknowledge()
            self.drop()
            return
        self._sought = False
        self.ahead_ms = max(0, fetched.records[-1].timestamp - self._clock.now())
        sizes = [size_of(record) for record in fetched.records]
        self._queue.extend(fetched.records)
        self._sizes.extend(sizes)
        self._queued_bytes += sum(sizes)
        self._expected = fetched.records[-1].offset + 1
        self._unacknowledged.append((self._expected, acknowledge))
        self._arrived.set()

    def applied(self, position: int) -> None:
        """Acknowledge the batches before a position."""
        while self._unacknowledged and self._unacknowledged[0][0] <= position:
            self._unacknowledged.popleft()[1]()

    async def take(self) -> list[SourceRecord]:
        """Wait for the next batch, at most 2,000 records and 1 MiB; empty if the queue was dropped.

        A record that is more than 60 s ahead of the clock waits: wall time may delay a record, and never decides.
        """
        generation = self.generation
        while not self._queue:
            # Dropped while the lane was busy, or just now: no record comes before the next seek.
            if self._expected is None or self.generation != generation:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        while self.generation == generation:
            ready = self._take_ready()
            if ready:
                self.problem = None
                return ready
            await self._wait_for_the_future()
        self.problem = None
        return []

    def _take_ready(self) -> list[SourceRecord]:
        ready: list[SourceRecord] = []
        size = 0
        latest = self._clock.now() + _FUTURE_MS
        while self._queue and len(ready) < _MAX_RECORDS and _is_ready(self._queue[0], latest):
            if ready and size + self._sizes[0] > _MAX_BYTES:
                break
            size += self._sizes.popleft()
            ready.append(self._queue.popleft())
        self._queued_bytes -= size
        return ready

    async def _wait_for_the_future(self) -> None:
        first = self._queue[0]
        if self.problem is None:
            self._log.warning("record_from_the_future", offset=first.offset)
        self.problem = (
            f"the record at offset {first.offset} is {first.timestamp - self._clock.now()} ms ahead of this clock; "
            "set the clocks of broker and worker"
        )
        await self._clock.sleep(_FUTURE_POLL_SECONDS)


def _first_offset(record: SourceRecord, expected: int) -> int:
    """Return the first offset of a record. An unreadable batch may begin before the offset that was asked for."""
    if isinstance(record, Unreadable) and record.offset >= expected:
        return max(record.first, expected)
    return record.offset


def _is_ready(record: SourceRecord, latest: int) -> bool:
    """Tell whether a record may be folded now. The time of an unreadable batch does not matter."""
    return record.timestamp <= latest or isinstance(record, Unreadable)
