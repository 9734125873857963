"""What a lane has been brought and has not yet folded: order, holes, generations, back-pressure.

Offsets may have gaps, and a gap is not a hole. A batch that does not begin where the last one ended is taken only
as the first after a seek, when the lane then asks the broker whether anything is missing; otherwise it is dropped
and the lane seeks again. Each seek begins a generation, and what was fetched under an older one, or for a lane that
was there before, is dropped.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from worker.deadletter import SourceRecord
from worker.ports import Clock

_MAX_RECORDS: Final = 2_000
_MAX_BYTES: Final = 1 << 20
# Two batches: one is gathered while one is in hand, and a slow store makes the worker slower, not bigger.
_QUEUED_RECORDS: Final = 2 * _MAX_RECORDS
_QUEUED_BYTES: Final = 2 * _MAX_BYTES
_FUTURE_MS: Final = 60_000
_FUTURE_POLL_SECONDS: Final = 1.0
# No two lanes share one: what was fetched for a lane may come to the next lane of its partition.
_generations: Final = count(1)


class Fetched(NamedTuple):
    """One fetched batch of a partition: the generation of the seek that it follows, and its records in order."""

    generation: int
    records: Sequence[SourceRecord]


class Intake:
    """The queue between the transport, which never waits, and the lane.

    Attributes:
        generation: number of the present generation, which no other intake of the process has or had.
        finding: why nothing is handed over although something is queued, else None.
    """

    def __init__(self, clock: Clock, log: FilteringBoundLogger) -> None:
        self.generation = next(_generations)
        self.finding: str | None = None
        self._clock = clock
        self._log = log
        self._queue: deque[SourceRecord] = deque()
        self._queued_bytes = 0
        self._unacknowledged: deque[tuple[int, Callable[[], object]]] = deque()
        self._arrived = asyncio.Event()
        self._seek_to: int | None = None
        # The offset that the next fetched batch should begin with; None until a seek has been asked for.
        self._expected: int | None = None
        self._sought = False

    @property
    def open(self) -> bool:
        """Whether more is wanted."""
        full = len(self._queue) >= _QUEUED_RECORDS or self._queued_bytes >= _QUEUED_BYTES
        return self._expected is not None and not full

    def seek(self, offset: int) -> None:
        """Begin a generation at an offset: the transport seeks there before its next fetch."""
        self.drop()
        self._expected = self._seek_to = offset
        self._sought = True

    def take_seek(self) -> int | None:
        """Return the offset to seek to before the next fetch, once, or None."""
        seek_to, self._seek_to = self._seek_to, None
        return seek_to

    def drop(self) -> None:
        """Drop what is queued and want nothing more until the next seek; whoever waits in `take` gets nothing."""
        self.generation = next(_generations)
        self._expected = self._seek_to = None
        self._queue.clear()
        self._queued_bytes = 0
        while self._unacknowledged:
            self._unacknowledged.popleft()[1]()
        self._arrived.set()

    def offer(self, fetched: Fetched, acknowledge: Callable[[], object]) -> None:
        """Take a fetched batch, or drop it where it is not what follows; never waits."""
        if fetched.generation != self.generation or self._expected is None or not fetched.records:
            acknowledge()
            return
        first = fetched.records[0].offset
        if first < self._expected or (first > self._expected and not self._sought):
            self._log.warning("hole", expected=self._expected, found=first)
            acknowledge()
            self.drop()
            return
        self._sought = False
        self._queue.extend(fetched.records)
        self._queued_bytes += sum(map(_size, fetched.records))
        self._expected = fetched.records[-1].offset + 1
        self._unacknowledged.append((self._expected, acknowledge))
        self._arrived.set()

    def applied(self, position: int) -> None:
        """Acknowledge what lies before a position."""
        while self._unacknowledged and self._unacknowledged[0][0] <= position:
            self._unacknowledged.popleft()[1]()

    async def take(self) -> list[SourceRecord]:
        """Wait for the next batch, at most 2,000 records and 1 MiB; nothing where what was queued has been dropped.

        A record more than 60 s ahead of the clock waits: wall time may delay, and never decides.
        """
        generation = self.generation
        while not self._queue:
            # Dropped while the lane was busy, or just now: until the next seek nothing more will come.
            if self._expected is None or self.generation != generation:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        while self.generation == generation:
            taken = self._take_ready()
            if taken:
                self.finding = None
                return taken
            await self._wait_for_the_future()
        self.finding = None
        return []

    def _take_ready(self) -> list[SourceRecord]:
        taken: list[SourceRecord] = []
        size = 0
        latest = self._clock.now() + _FUTURE_MS
        while self._queue and len(taken) < _MAX_RECORDS and self._queue[0].timestamp <= latest:
            size += _size(self._queue[0])
            if taken and size > _MAX_BYTES:
                break
            taken.append(self._queue.popleft())
        self._queued_bytes -= sum(map(_size, taken))
        return taken

    async def _wait_for_the_future(self) -> None:
        first = self._queue[0]
        if self.finding is None:
            self._log.warning("record_from_the_future", offset=first.offset)
        self.finding = (
            f"the record at offset {first.offset} is {first.timestamp - self._clock.now()} ms ahead of this clock; "
            "set the clocks of broker and worker"
        )
        await self._clock.sleep(_FUTURE_POLL_SECONDS)


def _size(record: SourceRecord) -> int:
    """Return how much a record weighs, in bytes; a bad emitter's key or value may be of any size."""
    return len(record.key or b"") + len(record.value or b"")
