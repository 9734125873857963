"""The live transitions: one consumer a process, its latest records, and everybody who listens.

The topic is read only while a stream is open, and for `LINGER_SECONDS` after the last one closed. A stream that opens
waits until the topic is heard to its end.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, NoReturn

import structlog

from api.adapters.dependency import Dependency, UnavailableError
from api.adapters.transitions import LOST, OpenReader, Reader
from api.observability.metrics import Metrics
from api.streaming.bookmark import Bookmark
from api.streaming.recent import RecentRows
from api.streaming.rows import Row, hidden, row_of

KEPT_RECORDS: Final = 8_192
"""Records of each partition that stay at hand. A lane appends the rows of a batch, at most 2,000 events, before it
commits: a state that was just read may lack these. Where they are not here either, they are read from the topic."""
KEPT_BYTES: Final = 8 << 20
"""Records of all partitions that stay at hand, in bytes: a busy hour makes no process larger than ten minutes do. A
transition takes about a kilobyte, and tens of them with the longest texts."""
_ROW_BYTES: Final = 600
"""What a row takes beside its body, in CPython 3.11: its tuple, place and id, and its entries here."""
QUEUE_ROWS: Final = 1_024
"""Live transitions that may wait for one client."""
IDLE_SECONDS: Final = 2.0
"""After this long without a record the broker is asked whether it is still there."""

LINGER_SECONDS: Final = 30.0
"""How long the topic is read on after the last stream closed. A client that reconnects comes back within seconds."""
START_SECONDS: Final = 10.0
"""How long the first stream waits until the topic is heard: connecting takes up to 6 s, and the latest records less."""
_HEARD: Final = "the transitions are heard"
_IDLE: Final = "no stream is open; the topic is read once one opens"

End = Literal["stopping", "slow", "lost"]
log = structlog.get_logger(__name__)


class Listener:
    """One stream: what waits for it, and why it has to end.

    Attributes:
        ended: set once the stream must end, with the reason.
        rows: what waits to be sent; `wake` is set when something comes.
    """

    def __init__(self) -> None:
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self.rows: deque[Row] = deque()
        self.wake = asyncio.Event()
        self.live = 0

    def end(self, reason: End) -> None:
        """Have the stream end; the first reason counts."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def hear(self, row: Row) -> None:
        """Take a live transition; a listener with too many waiting ends, for its client is slow."""
        if self.live >= QUEUE_ROWS:
            self.end("slow")
            return
        self.live += 1
        self.rows.append(row)
        self.wake.set()

    def take(self) -> list[Row]:
        """Return what waits."""
        rows = list(self.rows)
        self.rows.clear()
        self.live = 0
        self.wake.clear()
        return rows


class Feed:
    """Hears the topic once for everybody.

    Args:
        open_reader: connects to the topic.
        partitions: how many it has.
        dependency: told whether the topic is heard.
        metrics: told how many streams there are, and of those that were dropped.
        kept: records of each partition that stay at hand, at most.
        kept_bytes: what those of all partitions may take.
        now: a monotonic clock, in seconds.
    """

    lost = LOST

    def __init__(
        self,
        open_reader: OpenReader,
        partitions: int,
        dependency: Dependency,
        metrics: Metrics,
        *,
        kept: int = KEPT_RECORDS,
        kept_bytes: int = KEPT_BYTES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.partitions = partitions
        self._open_reader = open_reader
        self._dependency = dependency
        self._metrics = metrics
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._recent: dict[int, RecentRows] = {}
        self._rows_heard = 0
        self._bytes = 0
        self._open: set[Listener] = set()
        self._attached: defaultdict[str | None, set[Listener]] = defaultdict(set)
        self._released = False
        # No more rows than this of each partition can stay at hand, so no more are read at the start.
        self._first_rows = min(kept, kept_bytes // _ROW_BYTES // partitions)
        self._now = now
        self._read_until = now()
        self._opened = asyncio.Event()
        # Set while the topic is heard to its end, or the last attempt to hear it has failed.
        self._settled = asyncio.Event()

    async def heard(self) -> None:
        """Wait until the topic is heard. A listener must be open, since the topic is not read without one.

        Raises:
            UnavailableError: if it is not heard, or not in time.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._settled.wait()
        except TimeoutError:
            finding = f"the transitions were not heard within {START_SECONDS:g} s"
            raise UnavailableError("kafka", finding, finding) from None
        self.require()

    def require(self) -> None:
        """Go on only if the last attempt to hear the topic did not fail.

        Raises:
            UnavailableError: if it did.
        """
        if not self._dependency.up:
            raise UnavailableError("kafka", f"transitions: {self._dependency.finding}")

    @contextmanager
    def listener(self) -> Iterator[Listener]:
        """Make a listener for the block, afterwards forgotten with all that waits for it."""
        listener = Listener()
        if self._released:
            listener.end("stopping")
        self._open.add(listener)
        self._opened.set()
        self._metrics.streams.inc()
        try:
            yield listener
        finally:
            self._metrics.streams.dec()
            self._open.discard(listener)
            for tenant in [tenant for tenant, listeners in self._attached.items() if listener in listeners]:
                self._detach(listener, tenant)
            listener.rows.clear()
            self._read_until = self._now() + LINGER_SECONDS

    def start(self, partition: int) -> int:
        """Return the first offset of a partition that is at hand."""
        return self._recent[partition].start

    def attach(self, listener: Listener, bookmark: Bookmark, *, ahead: bool = False) -> bool:
        """Give a listener all that comes after a bookmark, from now on, without a gap.

        What has come already is put before it at once. It may hold what the bookmark no longer wants when its turn
        comes. Nothing happens, and False is returned, where the bookmark is not within the records at hand; then it
        must be looked for in the topic.

        Args:
            listener: of the stream.
            bookmark: how far the stream has come.
            ahead: the bookmark is known to be in the topic, also where it is not yet heard up to there.

        Raises:
            ResetError: if the bookmark names a record that is another.
        """
        for partition, mark in bookmark.marks.items():
            recent = self._recent[partition]
            if mark.offset < recent.start or (mark.offset + mark.exact > recent.next and not ahead):
                return False
        for partition, mark in bookmark.marks.items():
            recent = self._recent[partition]
            if mark.exact:
                named = recent.rows.get(mark.offset)
                bookmark.meet(named or hidden(partition, mark.offset, mark.place))
            rows = recent.rows.values() if bookmark.tenant is None else recent.of_tenant.get(bookmark.tenant, ())
            listener.rows.extend(row for row in rows if bookmark.wants(row))
        listener.wake.set()
        self._attached[bookmark.tenant].add(listener)
        return True

    def _detach(self, listener: Listener, tenant: str | None) -> None:
        self._attached[tenant].discard(listener)
        if not self._attached[tenant]:
            del self._attached[tenant]

    def caught_up(self, bookmark: Bookmark) -> None:
        """Note in a bookmark, all of whose transitions were taken, how far the topic was heard."""
        for partition in bookmark.marks:
            bookmark.read(partition, self._recent[partition].next)

    def release(self) -> None:
        """End all streams, present and to come: the process is stopping."""
        self._released = True
        self._end_all("stopping")

    def _end_all(self, reason: End) -> None:
        for listener in self._open:
            listener.end(reason)

    async def run(self) -> NoReturn:
        """Pass on what comes while somebody listens, from where hearing ended; for `dependency.keep`.

        The first connection is made without a stream too, so that `/status` shows a topic that is missing.
        """
        try:
            while True:
                async with self._open_reader() as reader:
                    await self._listen(reader)
                    # Before the reader closes, which takes a while: a stream that opens now waits for the next one.
                    self._rest()
                await self._opened.wait()
        finally:
            self._settled.set()

    def _wanted(self) -> bool:
        return bool(self._open) or self._now() < self._read_until

    def _rest(self) -> None:
        """Forget everything: nobody listens."""
        self._recent = {}
        self._bytes = 0
        self._opened.clear()
        self._settled.clear()
        self._dependency.mark_up(_IDLE)

    async def _listen(self, reader: Reader) -> None:
        """Pass on what comes until nobody listens."""
        ends = await self._begin(reader)
        heard = False
        while self._wanted():
            if not heard and all(self._recent[partition].next >= end for partition, end in ends.items()):
                heard = True
                self._dependency.mark_up(_HEARD)
                self._settled.set()
            page = await reader.page(IDLE_SECONDS)
            for record in page:
                self._hear(row_of(record))
            if not page:
                # Only this notices a broker that went away: an idle poll looks the same.
                await reader.bounds(range(self.partitions))
                # Offsets before the end may hold no record, such as those of a transaction.
                ends = {}
            # A poll that finds records at once would let no stream send.
            await asyncio.sleep(0)

    async def _begin(self, reader: Reader) -> dict[int, int]:
        bounds = await reader.bounds(range(self.partitions))
        if any(not held.start <= self._recent[p].next <= held.end for p, held in bounds.items() if p in self._recent):
            log.warning("transitions_not_where_they_were", streams=len(self._open))
            self._end_all("lost")
            self._recent = {}
            self._bytes = 0
        for partition, held in bounds.items():
            if partition not in self._recent:
                self._recent[partition] = RecentRows(max(held.start, held.end - self._first_rows))
        reader.seek({partition: recent.next for partition, recent in self._recent.items()})
        return {partition: held.end for partition, held in bounds.items()}

    def _hear(self, row: Row) -> None:
        self._keep(row)
        if row.shown:
            for tenant in (row.tenant, None):
                for listener in self._attached.get(tenant, ()):
                    listener.hear(row)

    def _keep(self, row: Row) -> None:
        """Keep a row at hand, and let go the oldest of its partition, or of all, where there are too many."""
        recent = self._recent[row.partition]
        self._rows_heard += 1
        recent.add(row, self._rows_heard)
        self._bytes += _size(row)
        if len(recent.rows) > self._kept:
            self._bytes -= _size(recent.drop_oldest())
        while self._bytes > self._kept_bytes:
            oldest = min((other for other in self._recent.values() if other.rows), key=lambda other: other.heard[0])
            self._bytes -= _size(oldest.drop_oldest())


def _size(row: Row) -> int:
    return _ROW_BYTES + len(row.body)
