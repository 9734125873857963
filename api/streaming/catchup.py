"""Catch-up: reads the transitions that a client missed and that are no longer in memory, with a separate reader."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from api.adapters.dependency import UnavailableError, describe
from api.adapters.places import NoPlaceError, Places
from api.adapters.transitions import LOST, OffsetRange, OpenReader, Reader
from api.streaming.bookmark import Bookmark, ResetError
from api.streaming.rows import Row, row_of

MOST_RECORDS: Final = 10_000
AT_ONCE: Final = 8
"""Clients that catch up at the same time. Each needs a connection to Kafka."""
MOST_OF_TENANT: Final = 2
"""Of these, clients of one tenant, or of the stream of all tenants, so that none blocks all others."""
TURN_SECONDS: Final = 10.0
"""How long a client waits for its turn."""
READ_SECONDS: Final = 30.0
"""How long one catch-up may take, so that a slow client does not keep others waiting."""
_PAGE_SECONDS: Final = 2.0


def check(bookmark: Bookmark, bounds: dict[int, OffsetRange]) -> None:
    """Require that all records after the bookmark exist, and that they are not too many.

    Raises:
        ResetError: if not.
    """
    for partition, mark in bookmark.marks.items():
        available = bounds[partition]
        if mark.offset < available.start:
            raise ResetError("expired")
        if mark.offset + mark.exact > available.end:
            raise ResetError("beyond_end")
    marks = bookmark.marks.items()
    if sum(bounds[partition].end - (mark.offset + mark.exact) for partition, mark in marks) > MOST_RECORDS:
        raise ResetError("too_far_back")


class Catchup:
    """Reads the topic from bookmarks to its end, for a few clients at a time."""

    def __init__(self, open_reader: OpenReader, *, at_once: int = AT_ONCE) -> None:
        self._open_reader = open_reader
        self._places = Places(at_once, MOST_OF_TENANT, TURN_SECONDS)

    @asynccontextmanager
    async def _turn(self, tenant: str | None) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the block."""
        try:
            async with self._places.place(tenant):
                yield
        except NoPlaceError:
            finding = "too many streams read history at once, and none of them has ended"
            raise UnavailableError("kafka", finding, finding) from None

    @asynccontextmanager
    async def pages(self, bookmark: Bookmark) -> AsyncIterator[AsyncIterator[list[Row]]]:
        """Connect, check the bookmark, and yield the records after it, page by page.

        The bookmark moves with the pages, to the end of what was read.

        Raises:
            ResetError: if the client cannot continue from the bookmark.
            UnavailableError: if Kafka does not answer, or no turn becomes free in time.
        """
        async with self._turn(bookmark.tenant):
            try:
                async with self._open_reader() as reader:
                    bounds = await reader.bounds(bookmark.marks)
                    check(bookmark, bounds)
                    reader.seek({partition: mark.offset for partition, mark in bookmark.marks.items()})
                    yield _read(reader, bookmark, {partition: available.end for partition, available in bounds.items()})
            except LOST as error:
                raise UnavailableError("kafka", describe(error)) from error


async def _read(reader: Reader, bookmark: Bookmark, ends: dict[int, int]) -> AsyncIterator[list[Row]]:
    loop = asyncio.get_running_loop()
    latest = loop.time() + READ_SECONDS
    while any(bookmark.marks[partition].offset < end for partition, end in ends.items()):
        page = [row_of(record) for record in await reader.page(_PAGE_SECONDS)]
        if loop.time() > latest:
            finding = f"reading history took more than {READ_SECONDS:g} s"
            raise UnavailableError("kafka", finding, finding)
        for row in page:
            bookmark.meet(row)
        yield page
        for row in page:
            bookmark.read(row.partition, row.offset + 1)
