"""Removes repeats from a partition whose format reports levels: what a state is, again and again. Pure.

An event is a repeat if the last event of the same breaker and instance that passed has the same state, or is newer. A
repeat passes once in a while, as a renewal of the lease. Times are in ms of a monotonic clock, unless a docstring says
otherwise.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from schemas.domain.state import BreakerState
from worker.ingress.tenant_limit import SKEW_MS, Normalised

MOST: Final = 16_384
"""How many breakers and instances are remembered, in about 5 MB. The one that was silent for longest is forgotten
first. Its next event passes, and is a renewal."""
RENEWAL_MS: Final = 10_000
"""How often a repeat passes that may mean sleep. A lease of 30 s or more is renewed in time."""
AWAKE_RENEWAL_MS: Final = 300_000
"""How often another repeat passes. It renews nothing that matters."""
_AWAKE: Final = frozenset({"closed", "disabled", "metrics_only"})


class _Last(NamedTuple):
    """The state and the time of the newest event of a breaker and instance, and when one last passed."""

    state: BreakerState
    occurred_at: int | None
    passed: int


class Repeats:
    """What the breakers of one partition last reported."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, _Last] = OrderedDict()

    def without(self, events: Iterable[Normalised], timestamp: int, now: int) -> list[Normalised]:
        """Return the events that are no repeats.

        Args:
            events: the events of a record.
            timestamp: the record's, in ms since the epoch.
            now: the present time.
        """
        return [event for event in events if not self._is_repeat(event, timestamp, now)]

    def forget(self, events: Sequence[Normalised]) -> None:
        """Forget events that were not forwarded."""
        for event in events:
            self._last.pop(_key(event), None)

    def _is_repeat(self, event: Normalised, timestamp: int, now: int) -> bool:
        if event.occurred_at is not None and 0 <= timestamp < event.occurred_at - SKEW_MS:
            # The fold refuses it. If it were remembered, it would hide all true ones.
            return False
        key = _key(event)
        last = self._last.get(key)
        older = (
            last is not None
            and last.occurred_at is not None
            and event.occurred_at is not None
            and event.occurred_at < last.occurred_at
        )
        interval = AWAKE_RENEWAL_MS if event.state in _AWAKE else RENEWAL_MS
        repeat = last is not None and (older or last.state == event.state) and now - last.passed < interval
        passed = last.passed if repeat and last is not None else now
        if older and last is not None:
            self._last[key] = last._replace(passed=passed)
        else:
            self._last[key] = _Last(event.state, event.occurred_at, passed)
        self._last.move_to_end(key)
        if len(self._last) > MOST:
            self._last.popitem(last=False)
        return repeat


def _key(event: Normalised) -> bytes:
    """Return a digest: names of any length take the same memory."""
    return blake2b(repr((event.tenant, event.claim)).encode(), digest_size=16).digest()
