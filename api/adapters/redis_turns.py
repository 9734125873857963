"""Concurrent calls to Redis: a fixed number of places, and a queue that is fair between tenants.

Each tenant has a queue of its own, and the queues get free places in turn. A tenant with thousands of requests delays
itself. Another tenant waits for at most one turn of each tenant, however many requests those have.
"""

import asyncio
from collections import OrderedDict, deque
from contextvars import ContextVar
from typing import Final

PLACES: Final = 64
"""The number of calls that wait for Redis at once."""
QUEUE_SECONDS: Final = 10.0
"""How long a request waits for its turn. A full process makes about 500 calls a second and holds 4,096 requests."""
CALLER: Final[ContextVar[str]] = ContextVar("caller", default="")
"""The queue of the request: that of its tenant, or of its subject."""


class RedisTurns:
    """A number of places that the queues get in turn.

    Args:
        places: the number of concurrent calls.
    """

    def __init__(self, places: int = PLACES) -> None:
        self._free = places
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, seconds: float = QUEUE_SECONDS) -> None:
        """Wait in the caller's queue for a place. The caller then gives it back with `give`.

        Raises:
            TimeoutError: if no place became free in time.
        """
        if self._free and not self._lines:
            self._free -= 1
        else:
            await self._wait(CALLER.get(), seconds)

    async def _wait(self, name: str, seconds: float) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(name, deque()).append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException:
            if place.done() and not place.cancelled():
                self.give()  # The place came at the moment of the timeout.
            else:
                self._leave(name, place)
            raise

    def _leave(self, name: str, place: "asyncio.Future[None]") -> None:
        line = self._lines[name]
        line.remove(place)
        if not line:
            del self._lines[name]

    def give(self) -> None:
        """Give a place back: to the first request of the next queue, if there is one."""
        if not self._lines:
            self._free += 1
            return
        name, line = self._lines.popitem(last=False)
        place = line.popleft()
        if line:
            self._lines[name] = line  # at the end of the round
        if place.cancelled():
            self.give()
        else:
            place.set_result(None)
