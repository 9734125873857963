"""A bounded number of places, for work that needs a connection of its own."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from api.errors.base import ApiError


class NoPlaceError(ApiError):
    """No place became free in time."""


class Places:
    """Places that callers hold for a while.

    Args:
        at_once: how many there are.
        of_one: how many of them one holder may have, so that none blocks all others.
        seconds: how long a caller waits for a place.
    """

    def __init__(self, at_once: int, of_one: int, seconds: float) -> None:
        self._of_one = of_one
        self._seconds = seconds
        self._turns = asyncio.Semaphore(at_once)
        # A holder's share lives for as long as one of its callers waits or works.
        self._shares: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def place(self, holder: Hashable) -> AsyncIterator[None]:
        """Wait for a place, and hold it for the block.

        Raises:
            NoPlaceError: if none became free in time; the block did not begin.
        """
        share = self._shares.setdefault(holder, asyncio.Semaphore(self._of_one))
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._seconds):
                    await held.enter_async_context(share)
                    await held.enter_async_context(self._turns)
            except TimeoutError:
                raise NoPlaceError from None
            yield
