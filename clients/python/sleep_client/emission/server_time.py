"""The time of the server, by a local monotonic clock.

The server gives its time only as the `Date` of each answer: whole seconds, which uvicorn renews once a second. So at
the end of an exchange the server's clock shows at least `Date`, and at most `Date`, two seconds and the duration of the
exchange. Each answer narrows the difference of the two clocks to such an interval, and intervals of several answers
narrow it further. The lower end is used: a stamp may be up to two seconds early, and is never ahead of the server.

The local wall clock is not read at all. So it may be wrong, and may be set at any time.
"""

import math
from typing import Final

STALE_SECONDS: Final = 2.0
"""How old a `Date` may be: 1 s since it is cut to seconds, and 1 s until it is renewed."""


class ServerTime:
    """What is known about the server's clock."""

    def __init__(self) -> None:
        self._lowest = -math.inf
        self._highest = math.inf

    def learn(self, date: float, sent: float, received: float) -> None:
        """Use the `Date` of an answer.

        If it contradicts earlier answers, one of the clocks was set or has drifted, and the newest answer counts.

        Args:
            date: seconds since the epoch.
            sent: when the request was sent, in seconds of the local clock.
            received: when the answer came, in the same.
        """
        lowest, highest = date - received, date + STALE_SECONDS - sent
        if lowest > self._highest or highest < self._lowest:
            self._lowest, self._highest = lowest, highest
        else:
            self._lowest, self._highest = max(lowest, self._lowest), min(highest, self._highest)

    def at(self, local: float) -> int | None:
        """Return the server's time at a moment of the local clock, in milliseconds since the epoch.

        None if no answer had a usable `Date`, or if the moment would lie before 1970, which the server refuses.
        """
        if self._lowest == -math.inf:
            return None
        milliseconds = math.floor((self._lowest + local) * 1000)
        return milliseconds if milliseconds >= 0 else None
