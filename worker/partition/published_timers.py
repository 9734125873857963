"""The timers of one partition that are published and not folded yet, so that none is published again without need.

A timer that Kafka has acknowledged is in the log: the lane folds it, however far behind it is. Another one would only
make the log longer, and the lane later still. With 100,000 timers that fell due at once, 5 s after the first ones the
log grew faster than the lanes folded it.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.wire.cloudevents import STRUCTURED_HEADERS, encode
from schemas.wire.events import TIMER
from worker.ports import Due, Output

_SOURCE: Final = "urn:somabrain-sleep:worker"
REPEAT_MS: Final = 5_000
"""For so long a timer is not published again, and not looked for in the log."""


@dataclass(slots=True)
class Append:
    """Timers that were sent together.

    Attributes:
        again_at: before this time none of them is published again, ms.
        end: the offset after them, None until Kafka has acknowledged them.
    """

    again_at: int
    end: int | None = None


class _Published(NamedTuple):
    """When a timer was due (ms), and with which others it was sent."""

    due: int
    append: Append


class PublishedTimers:
    """The published timers by tenant."""

    def __init__(self) -> None:
        self._timers: dict[str, _Published] = {}

    def add(self, tenant: str, due: int, append: Append) -> None:
        """Note a timer that is sent with others."""
        self._timers[tenant] = _Published(due, append)

    def append_of(self, tenant: str) -> Append | None:
        """Return with which others the timer of a tenant was sent, None if none is under way."""
        published = self._timers.get(tenant)
        return None if published is None else published.append

    def ahead(self, due: Due, now: int) -> list[tuple[Append, int]]:
        """Return what the timers of a page were sent with, and the offset after it, if the lane has not reached it yet.

        Those that need not be published again at `now` (ms) are left out.
        """
        appends = (self.append_of(tenant) for tenant, _ in due.timers)
        return [
            (append, append.end)
            for append in appends
            if append is not None and append.again_at <= now and append.end is not None and append.end > due.position
        ]

    def folded(self, tenant: str, at: int, now: int) -> int | None:
        """Note that a timer of a tenant was folded.

        Args:
            tenant: the tenant.
            at: the log's time of the timer, ms.
            now: the time, ms.

        Returns:
            When the tenant needs another timer, ms; None if it needs none.
        """
        published = self._timers.pop(tenant, None)
        if published is None or at >= published.due:
            return None
        # The broker's clock is behind ours: wait for the difference. Or this is an earlier timer, and ours is still to
        # come.
        again = Append(min(published.append.again_at, now + published.due - at))
        self._timers[tenant] = _Published(published.due, again)
        return again.again_at

    def clear(self) -> None:
        """Forget all of them."""
        self._timers.clear()


def timer(tenant: str, due: int) -> Output:
    """Return the timer of a tenant that was due at a time, ms."""
    event = encode(
        type_=TIMER,
        id_=f"timer:{tenant}:{due}",
        source=_SOURCE,
        subject=tenant,
        time=None,
        data={"due_at": due},
    )
    return Output(tenant.encode(), event, STRUCTURED_HEADERS)
