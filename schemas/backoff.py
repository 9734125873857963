"""How long to wait before the next attempt, for worker and API."""

import random
from typing import Final

LONGEST_SECONDS: Final = 5.0
_MOST_DOUBLINGS: Final = 10


class Backoff:
    """A wait that doubles with each failed attempt up to 5 seconds, and of which up to a half is jitter.

    Args:
        random_: draws the jitter.
        first_seconds: the longest wait after the first failed attempt.
    """

    def __init__(self, random_: random.Random, first_seconds: float = 0.1) -> None:
        self._random = random_
        self._first_seconds = first_seconds
        self._failures = 0

    def next(self) -> float:
        """Count a failed attempt and return the seconds to wait before the next one."""
        longest = min(self._first_seconds * 2.0 ** min(self._failures, _MOST_DOUBLINGS), LONGEST_SECONDS)
        self._failures += 1
        return longest * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again with the first wait, after a success."""
        self._failures = 0

    @property
    def failing(self) -> bool:
        """Whether an attempt has failed since the last success."""
        return self._failures > 0
