"""The numbers of tenants by state over the last hour, in memory."""

from collections import deque
from typing import Any, Final, NamedTuple

from api.adapters.redis_store import Totals
from schemas.clock import Clock

EVERY_SECONDS: Final = 10
"""The time between two samples. They are taken from what the metrics read anyway."""
KEPT_SECONDS: Final = 3_600
_EARLY_MS: Final = 500


class _Sample(NamedTuple):
    """The numbers at a time, in ms."""

    at: int
    totals: Totals


class CountsHistory:
    """The samples of the last hour. While Redis does not answer there are none.

    Args:
        clock: the time in ms.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=KEPT_SECONDS // EVERY_SECONDS)

    def know(self, totals: Totals) -> None:
        """Keep the numbers if a sample is due."""
        now = self._clock()
        last = self._samples[-1].at if self._samples else None
        # The reader's pauses are not exact. A clock that was set back must not stop the samples.
        if last is None or now < last or now - last >= EVERY_SECONDS * 1000 - _EARLY_MS:
            self._samples.append(_Sample(now, totals))

    def document(self) -> dict[str, Any]:
        """Return the samples of the last hour, the oldest first."""
        now = self._clock()
        recent = [sample for sample in self._samples if now - KEPT_SECONDS * 1000 <= sample.at <= now]
        return {
            "since": recent[0].at if recent else None,
            "every_seconds": EVERY_SECONDS,
            "samples": [{"at": at, "counts": totals.counts, "open_ended": totals.open_ended} for at, totals in recent],
            "now": now,
        }
