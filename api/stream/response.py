"""One client's stream: where it begins, what it catches up on, and then what comes."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Final

from pydantic_core import to_json

from api.read.store import Store
from api.read.views import Reads
from api.stream import bookmark as ids
from api.stream import sse
from api.stream.bookmark import DETAILS, NOWHERE, WHOLE, Bookmark, Mark, ResetError
from api.stream.catchup import Catchup
from api.stream.feed import Feed, Listener
from api.stream.transitions import Place, Row
from schemas.partition import partition_of

RETRY_MS: Final = 2_000
"""How long a client waits before it connects again."""
CHUNK_BYTES: Final = 65_536
# No event has that many rows.
_AFTER_ALL: Final = 1 << 62


class Session:
    """A stream without its HTTP: pure but for what it asks of its parts.

    Args:
        feed: the live transitions.
        catchup: reads what is no longer at hand.
        reads: answers what the tenant is now.
        store: knows how far each partition is applied.
        tenant: whose stream it is, None for that of all.
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
        """Yield the stream's bytes for ever; the first chunk comes once it is known that the stream can begin.

        Raises:
            UnavailableError: if something that it needs does not answer.
        """
        self._feed.require()
        async with aclosing(self._approach(listener)) as before:
            async for chunk in before:
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
        """Yield what comes before the live transitions, until the listener is attached to these."""
        said = sse.retry(RETRY_MS)
        reset: ResetError | None = None
        ahead = False
        try:
            said += await self._begin()
        except ResetError as error:
            reset = error
        while True:
            if reset is not None:
                said += _reset(reset) + await self._begin_afresh()
                reset, ahead = None, False
            try:
                if self._feed.attach(listener, self._bookmark, ahead=ahead):
                    break
                async with self._catchup.pages(self._bookmark) as pages:
                    if said:
                        yield _ended(said)
                    said = b""
                    async for page in pages:
                        for chunk in _encoded(self._bookmark, page):
                            yield chunk
                ahead = True
            except ResetError as error:
                reset = error
        if said:
            yield _ended(said)

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
        """Begin without an id, and return what is said first.

        A row is in the topic before its event is applied, so what was just read may lack rows that were heard
        already: the stream begins as far back as records are at hand, and skips by place what the state includes.
        """
        if self._tenant is None:
            starts = {partition: self._feed.start(partition) for partition in range(self._feed.partitions)}
            applied = await self._store.progress()
            marks = {number: Mark(start, Place(applied[number], WHOLE)) for number, start in starts.items()}
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


def _ended(said: bytes) -> bytes:
    """Where no event follows at once, `retry` is a block of its own."""
    return said if said.endswith(b"\n\n") else said + b"\n"


def _encoded(bookmark: Bookmark, rows: Iterable[Row]) -> Iterator[bytes]:
    """Yield what a bookmark wants of some records, in chunks, and take it along."""
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
