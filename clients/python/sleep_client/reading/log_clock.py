"""The time of the log, by a local monotonic clock."""

from collections import deque
from typing import Final

_MOST: Final = 8
"""Of how many times the latest one counts. The server sends one every 15 s, so they span two minutes."""


class LogClock:
    """Counts on from the times that the stream brings.

    A time is late by the duration of its way, which differs. So of the last ones that counts which is the furthest
    ahead. The local wall clock is not read at all: it may be wrong, and may be set at any time.
    """

    __slots__ = ("_offset", "_offsets")

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=_MOST)
        self._offset = 0.0

    def learn(self, log_ms: int, local: float) -> None:
        """Take the log's time in milliseconds, which came at a moment of the local clock, in seconds."""
        self._offsets.append(log_ms - local * 1000)
        self._offset = max(self._offsets)

    def at(self, local: float) -> int:
        """Return the log's time in milliseconds at a moment of the local clock."""
        return int(self._offset + local * 1000)
