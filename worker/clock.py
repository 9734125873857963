"""Time and how long to wait before trying again."""

import asyncio
import random
import time
from typing import Final

_FIRST_SECONDS: Final = 0.1
_LONGEST_SECONDS: Final = 5.0


class WallClock:
    """The machine's clock."""

    def now(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class Backoff:
    """How long to wait before the next try: doubling from 0.1 to 5 seconds, each jittered down to a half."""

    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        longest = min(_FIRST_SECONDS * 2.0 ** min(self._tries, 10), _LONGEST_SECONDS)
        self._tries += 1
        return longest * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start afresh after a success."""
        self._tries = 0

    @property
    def failing(self) -> bool:
        """Whether a try has failed since the last success."""
        return self._tries > 0
