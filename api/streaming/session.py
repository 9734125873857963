"""One client's stream: its start, its catch-up, and then live transitions."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Final

from pydantic_core import to_json

from api.adapters.redis_store import Store
from api.queries.tenant import Reads
from api.streaming import bookmark as ids
from api.streaming import sse
from api.streaming.bookmark import DETAILS, NOWHERE, WHOLE_EVENT, Bookmark, Mark, ResetError
from api.streaming.catchup import Catchup
from api.streaming.feed import Feed, Listener
from api.streaming.rows import Place, Row
from schemas.kafka.partitioner import partition_of

RETRY_MS: Final = 2_000
"""How long a client waits before it connects again."""
CHUNK_BYTES: Final = 65_536
# Above the row number of any event.
_AFTER_ALL: Final = 1 << 62


class Session:
    """The content of a stream, without HTTP.

    Args:
        feed: the live transitions.
        catchup: reads records that are no longer in memory.
        reads: reads the tenant's present state.
        store: reads the progress of each partition.
        tenant: the tenant of the stream, None for all tenants.
        last_id: the `Last-Event-ID` that the client sent.
    """

    def __init__(
        self, feed: Feed, catchup: Catchup, reads: Reads, store: Store, *, tenant: str | None, last_id: str | None
    ) -> None:
        self._feed = feed
        self._catchup = catchup
        self._reads = reads
        self._store = store
        self._tenant = tenant
        self._last_id = last_id
        self._bookmark = Bookmark({}, tenant)

    async def chunks(self, listener: Listener, heartbeat_seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield the stream's bytes for ever. The first chunk comes once the stream can begin.

        Raises:
            UnavailableError: if a dependency does not answer.
        """
        await self._feed.heard()
        async with aclosing(self._approach(listener)) as start:
            async for chunk in start:
                yield chunk
        while True:
            for chunk in _encoded(self._bookmark, listener.take()):
                yield chunk
            if listener.rows:
                continue
            self._feed.caught_up(self._bookmark)
            try:
                async with asyncio.timeout(heartbeat_seconds):
                    await listener.wake.wait()
            except TimeoutError:
                yield sse.HEARTBEAT

    async def _approach(self, listener: Listener) -> AsyncGenerator[bytes, None]:
        """Yield the start and the catch-up, until the listener is attached to the live transitions."""
        preamble = sse.retry(RETRY_MS)
        reset: ResetError | None = None
        ahead = False
        try:
            preamble += await self._begin()
        except ResetError as error:
            reset = error
        while True:
            if reset is not None:
                preamble += _reset(reset) + await self._begin_afresh()
                reset, ahead = None, False
            try:
                if self._feed.attach(listener, self._bookmark, ahead=ahead):
                    break
                async with self._catchup.pages(self._bookmark) as pages:
                    if preamble:
                        yield _closed(preamble)
                    preamble = b""
                    async for page in pages:
                        for chunk in _encoded(self._bookmark, page):
                            yield chunk
                ahead = True
            except ResetError as error:
                reset = error
        if preamble:
            yield _closed(preamble)

    async def _begin(self) -> bytes:
        if not self._last_id:
            return await self._begin_afresh()
        if self._tenant is None:
            self._bookmark = ids.of_all(self._last_id, self._feed.partitions)
        else:
            partition = partition_of(self._tenant, self._feed.partitions)
            self._bookmark = ids.of_tenant(self._last_id, self._tenant, partition)
        return b""

    async def _begin_afresh(self) -> bytes:
        """Begin without an id, and return the first event.

        A row is in the topic before its event is applied. So the state that was just read may lack rows that were
        already received. The stream begins at the oldest row in memory, and skips the rows that the state includes.
        """
        if self._tenant is None:
            starts = {partition: self._feed.start(partition) for partition in range(self._feed.partitions)}
            applied = await self._store.progress()
            marks = {number: Mark(start, Place(applied[number], WHOLE_EVENT)) for number, start in starts.items()}
            self._bookmark = Bookmark(marks, None)
            return b""
        partition = partition_of(self._tenant, self._feed.partitions)
        start = self._feed.start(partition)
        state = await self._reads.present(self._tenant)
        position: str | None = state["position"]
        place = NOWHERE if position is None else Place(int(position.partition(":")[2]), _AFTER_ALL)
        self._bookmark = Bookmark({partition: Mark(start, place)}, self._tenant)
        return sse.body("state", to_json(state))


def _reset(reset: ResetError) -> bytes:
    data = to_json({"reason": reset.reason, "detail": DETAILS[reset.reason]})
    return sse.FORGET_ID + sse.body("reset", data)


def _closed(preamble: bytes) -> bytes:
    """Close the block of a `retry` line that no event follows at once."""
    return preamble if preamble.endswith(b"\n\n") else preamble + b"\n"


def _encoded(bookmark: Bookmark, rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield the rows that a bookmark wants, in chunks, and move the bookmark."""
    parts: list[bytes] = []
    size = 0
    for row in rows:
        if bookmark.wants(row):
            parts += (bookmark.deliver(row), row.body)
            size += len(row.body)
            if size >= CHUNK_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
    if parts:
        yield b"".join(parts)
