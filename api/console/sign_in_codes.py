"""Codes that sign a reader in once, for the embedded installation of `sleepctl run`."""

import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from schemas.clock import Clock

LIVES_MS: Final = 300_000
"""How long a code is good: as long as it takes to read the lines of the scenario and follow the link."""
MOST: Final = 16


class SignInCodes:
    """Gives codes out, and a token for each of them, once.

    Args:
        mint: returns a new token.
        clock: a time in milliseconds that nobody sets.
    """

    def __init__(self, mint: Callable[[], str], clock: Clock) -> None:
        self._mint = mint
        self._clock = clock
        # By the hash: what is held here signs nobody in.
        self._ends: dict[bytes, int] = {}

    def issue(self) -> str:
        """Return a new code. The oldest one ends where there are too many."""
        code = secrets.token_urlsafe(32)
        while len(self._ends) >= MOST:
            del self._ends[next(iter(self._ends))]
        self._ends[_digest(code)] = self._clock() + LIVES_MS
        return code

    def redeem(self, code: str) -> str | None:
        """Return a token for a code, None for one that is unknown, used or too old. The code ends here."""
        ends = self._ends.pop(_digest(code), None)
        return self._mint() if ends is not None and self._clock() < ends else None


def _digest(code: str) -> bytes:
    return sha256(code.encode()).digest()
