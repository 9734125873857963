"""The clocks of this machine, as functions that a caller may replace by its own."""

import time
from collections.abc import Callable
from typing import Final

Clock = Callable[[], int]
"""Returns a time in milliseconds."""

_NS_IN_MS: Final = 1_000_000


def now_ms() -> int:
    """Return the wall clock's time: milliseconds since the epoch."""
    return time.time_ns() // _NS_IN_MS


def monotonic_ms() -> int:
    """Return the time of a clock that nobody sets, in milliseconds since some moment."""
    return time.monotonic_ns() // _NS_IN_MS
