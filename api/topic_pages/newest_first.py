"""Walks over one topic, for a few callers at a time."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Hashable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from api.adapters.dependency import UnavailableError, describe
from api.adapters.places import NoPlaceError, Places
from api.adapters.transitions import LOST, OpenPlacedReader
from api.errors.problems import ProblemError
from api.topic_pages.cursor import marks_in, not_a_cursor
from api.topic_pages.walk import Bounds, Walk
from schemas.clock import Clock
from schemas.kafka.source_record import SourceRecord

AT_ONCE: Final = 4
"""Pages that a process reads at the same time. Each needs a connection to Kafka."""
OF_ONE: Final = 2
"""Of these, pages of one caller, so that none blocks all others."""
TURN_SECONDS: Final = 2.0
"""How long a caller waits for its turn."""

Kept = TypeVar("Kept")


def page_places() -> Places:
    """Return the places for the pages of one process, whatever their topic."""
    return Places(AT_ONCE, OF_ONE, TURN_SECONDS)


class NewestFirst:
    """Walks over one topic.

    Args:
        open_reader: connects to the topic.
        places: bound how many pages are read at once.
        bounds: of one walk.
        clock: the time in ms.
        now: monotonic, in seconds.
    """

    def __init__(
        self,
        open_reader: OpenPlacedReader,
        places: Places,
        bounds: Bounds,
        clock: Clock,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_reader = open_reader
        self._places = places
        self._bounds = bounds
        self._clock = clock
        self._now = now

    @asynccontextmanager
    async def walk(
        self,
        holder: Hashable,
        keep: Callable[[SourceRecord], Kept],
        *,
        partitions: Collection[int] | None,
        cursor: str | None,
        oldest: int | None = None,
    ) -> AsyncIterator[Walk[Kept]]:
        """Connect, and yield a walk that has not begun.

        Args:
            holder: whose page it is.
            keep: what is kept of a record.
            partitions: the only ones that are read; None for all.
            cursor: that of the page before; None for the newest records.
            oldest: the time in ms before which nothing is wanted.

        Raises:
            ProblemError: `overloaded` without a free place; `invalid_request` for a wrong cursor.
            UnavailableError: if Kafka does not answer, or a partition is not available.
        """
        try:
            async with self._places.place(holder), self._open_reader() as reader:
                wanted = range(await reader.count()) if partitions is None else partitions
                given = None if cursor is None else marks_in(cursor, wanted)
                available = await reader.bounds(wanted)
                marks = given or {number: range_.end for number, range_ in available.items()}
                if any(mark > available[number].end for number, mark in marks.items()):
                    raise not_a_cursor()
                # The newest page has nothing after it.
                bounds = self._bounds if given else self._bounds._replace(ahead=0)
                began_at = self._clock()
                yield Walk(reader, available, marks, keep, bounds, began_at=began_at, oldest=oldest, now=self._now)
        except NoPlaceError:
            detail = f"{AT_ONCE} pages are read at once, {OF_ONE} of one caller, and none of them has ended; try again"
            raise ProblemError("overloaded", detail, headers={"Retry-After": "1"}) from None
        except LOST as error:
            raise UnavailableError("kafka", describe(error)) from error
