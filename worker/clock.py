"""The clocks of a worker: time, and waiting for it."""

import asyncio

from schemas.clock import monotonic_ms, now_ms


class WallClock:
    """The machine's clock."""

    def now(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return now_ms()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SteadyClock(WallClock):
    """A clock that nobody sets, to measure how long something takes."""

    def now(self) -> int:
        """Return the time in milliseconds since some moment."""
        return monotonic_ms()
