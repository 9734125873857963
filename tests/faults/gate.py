"""A gate for all who write: while it is shut, nothing of theirs is under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Open until it is shut."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._inside = 0

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Go through, once the gate is open."""
        await self._open.wait()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    @asynccontextmanager
    async def shut(self) -> AsyncIterator[None]:
        """Shut the gate, wait until nobody is inside, and open it after the block."""
        self._open.clear()
        try:
            while self._inside:
                await asyncio.sleep(0.05)
            yield
        finally:
            self._open.set()
