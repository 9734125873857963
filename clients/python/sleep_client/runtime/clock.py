"""A monotonic clock that counts while the machine is suspended."""

import time
from typing import Final

# Linux has a name of its own for this clock. On macOS the POSIX clock is such a one, and Python's `monotonic` is not.
_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def seconds() -> float:
    """Return the seconds since some moment. The wall clock does not matter."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
