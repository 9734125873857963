"""Log time: the broker's clock, read from each acknowledgement.

The fold compares `not_after` with the timestamp that the broker gives the record. So `not_after` must be in time of the
broker. The wall clock of this machine may be wrong or be set while the process runs. Its monotonic clock is never set.
"""

from typing import Final, NamedTuple

from schemas.clock import Clock, monotonic_ms
from schemas.clock_skew import LOG_TIME, skew_finding

NOT_AFTER_MS: Final = 30_000
"""The log refuses a command that arrives later than this after its request."""
UNKNOWN_MS: Final = 60_000
"""Extra time for a command while the time of its partition's log is still unknown."""


class _Anchor(NamedTuple):
    """An acknowledgement: the log's time, and when it came by the monotonic clock."""

    log: int
    at: int


class LogTime:
    """Keeps the latest acknowledgement of each partition.

    Args:
        clock: the wall clock of this machine.
        monotonic: a clock that nobody sets.
    """

    def __init__(self, clock: Clock, monotonic: Clock = monotonic_ms) -> None:
        self._clock = clock
        self._monotonic = monotonic
        # None if the broker gives no timestamps, like the embedded one.
        self._anchors: dict[int, _Anchor | None] = {}
        self._latest: _Anchor | None = None

    def acknowledged(self, partition: int, timestamp: int | None) -> None:
        """Record the broker's timestamp for a partition, None if the broker gave none."""
        anchor = None if timestamp is None else _Anchor(timestamp, self._monotonic())
        self._anchors[partition] = anchor
        self._latest = anchor or self._latest

    def not_after(self, partition: int) -> int:
        """Return the log time after which a command sent now is to be refused."""
        if partition not in self._anchors:
            return self.now() + NOT_AFTER_MS + UNKNOWN_MS
        anchor = self._anchors[partition]
        return (self._clock() if anchor is None else self._of(anchor)) + NOT_AFTER_MS

    def now(self) -> int:
        """Return this machine's time, or log time if the two differ by more than an acknowledgement may take."""
        return self._clock() if self.finding() is None or self._latest is None else self._of(self._latest)

    def finding(self) -> str | None:
        """Return what is wrong with this machine's clock, None where it agrees with the broker's."""
        if self._latest is None:
            return None
        return skew_finding(LOG_TIME, self._of(self._latest) - self._clock())

    def _of(self, anchor: _Anchor) -> int:
        return anchor.log + self._monotonic() - anchor.at
