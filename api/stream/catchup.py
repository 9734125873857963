"""Reading back: what a client missed that is no longer at hand, by a reader of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

from api.operate.dependency import UnavailableError, describe
from api.stream.bookmark import Bookmark, ResetError
from api.stream.transitions import LOST, Bounds, OpenReader, Reader, Row

MOST_RECORDS: Final = 10_000
AT_ONCE: Final = 8
"""Clients that read back at the same time; each takes a connection to Kafka."""
OF_ONE: Final = 2
"""Of these, those of one tenant, or of all tenants' transitions: nobody keeps everybody else from reading back."""
TURN_SECONDS: Final = 10.0
"""How long a client waits for its turn."""
WHOLE_SECONDS: Final = 30.0
"""How long one may take, so that a client that takes its time does not keep the others waiting."""
_PAGE_SECONDS: Final = 2.0


def check(bookmark: Bookmark, bounds: dict[int, Bounds]) -> None:
    """Go on only if all that came after the bookmark is there, and is not too much.

    Raises:
        ResetError: if it is not.
    """
    for partition, mark in bookmark.marks.items():
        held = bounds[partition]
        if mark.offset < held.start:
            raise ResetError("expired")
        if mark.offset + mark.exact > held.end:
            raise ResetError("beyond_end")
    marks = bookmark.marks.items()
    if sum(bounds[partition].end - (mark.offset + mark.exact) for partition, mark in marks) > MOST_RECORDS:
        raise ResetError("too_far_back")


class Catchup:
    """Reads the topic from bookmarks to its end, for a few clients at a time."""

    def __init__(self, open_reader: OpenReader, *, at_once: int = AT_ONCE) -> None:
        self._open_reader = open_reader
        self._turns = asyncio.Semaphore(at_once)
        # A share is there for as long as somebody of its tenant waits or reads.
        self._shares: WeakValueDictionary[str | None, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def _turn(self, tenant: str | None) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the block."""
        share = self._shares.setdefault(tenant, asyncio.Semaphore(OF_ONE))
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await held.enter_async_context(share)
                    await held.enter_async_context(self._turns)
            except TimeoutError:
                raise UnavailableError("kafka", "others read back, and none of them has ended") from None
            yield

    @asynccontextmanager
    async def pages(self, bookmark: Bookmark) -> AsyncIterator[AsyncIterator[list[Row]]]:
        """Connect, check the bookmark, and give the records from there on, page by page; deliver what is wanted.

        The bookmark is taken along, so that it stands at the end of what was read.

        Raises:
            ResetError: if the client cannot go on from there.
            UnavailableError: if Kafka does not answer, or nobody else ends in time.
        """
        async with self._turn(bookmark.tenant):
            try:
                async with self._open_reader() as reader:
                    bounds = await reader.bounds(bookmark.marks)
                    check(bookmark, bounds)
                    reader.seek({partition: mark.offset for partition, mark in bookmark.marks.items()})
                    yield _read(reader, bookmark, {partition: held.end for partition, held in bounds.items()})
            except LOST as error:
                raise UnavailableError("kafka", describe(error)) from error


async def _read(reader: Reader, bookmark: Bookmark, ends: dict[int, int]) -> AsyncIterator[list[Row]]:
    loop = asyncio.get_running_loop()
    latest = loop.time() + WHOLE_SECONDS
    while any(bookmark.marks[partition].offset < end for partition, end in ends.items()):
        page = await reader.page(_PAGE_SECONDS)
        if loop.time() > latest:
            raise UnavailableError("kafka", f"reading back took more than {WHOLE_SECONDS:g} s")
        for row in page:
            bookmark.meet(row)
        yield page
        for row in page:
            bookmark.read(row.partition, row.offset + 1)
