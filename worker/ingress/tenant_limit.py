"""The limit of each tenant on a partition of an ingress topic. Pure: times are arguments.

Up to the limit, events pass at once. Above it they wait, in order. If an event of the same breaker and instance waits
already, a later event replaces it. So a flood from one breaker costs one event a turn. Times are in ms of a monotonic
clock, unless a docstring says otherwise.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.domain.state import BreakerState
from worker.ports import Output

ROOM: Final = 1_024
"""How many events of a tenant may wait: four times as many as a tenant may have breaker claims."""
ROOM_BYTES: Final = 8 << 20
"""How many bytes of events may wait, for all tenants of a partition. That is about 10,000 events of 800 bytes."""
SKEW_MS: Final = 60_000
"""How far ahead of its record an event may be, in ms. The fold refuses an event that is further ahead."""
_BURST_MS: Final = 1_000.0


class Normalised(NamedTuple):
    """A breaker event from ingress.

    Attributes:
        tenant: the tenant.
        claim: the breaker and the instance.
        occurred_at: the time of the event, or else of its record; None if neither has one.
        output: the event as it is published.
        state: the breaker's state.
    """

    tenant: str
    claim: tuple[str, str]
    occurred_at: int | None
    output: Output
    state: BreakerState

    @property
    def size(self) -> int:
        """The size of the event in bytes."""
        return len(self.output.value or b"")


@dataclass(slots=True)
class _Waiting:
    """An event that waits, and the offset of the first record that it replaces or comes from."""

    event: Normalised
    first: int


class _Tenant:
    """The waiting events of a tenant, in order, and the last one of each breaker and instance."""

    def __init__(self) -> None:
        self.queue: deque[_Waiting] = deque()
        self.last: dict[tuple[str, str], _Waiting] = {}

    def replaced_by(self, event: Normalised, timestamp: int) -> _Waiting | None:
        """Return the waiting event that an event replaces, None if the event must wait as well.

        The fold refuses an event whose time is too far ahead. So it replaces none: the waiting event would be lost.
        """
        waiting = self.last.get(event.claim)
        if waiting is None or event.occurred_at is None or waiting.event.occurred_at is None or timestamp < 0:
            return None
        replaces = waiting.event.occurred_at <= event.occurred_at <= timestamp + SKEW_MS
        return waiting if replaces else None


class Admitted(NamedTuple):
    """The events of a record: those that pass now, how many wait, and how many replaced a waiting event."""

    passing: list[Normalised]
    waiting: int
    replaced: int


class TenantLimit:
    """The limits of the tenants of one partition of an ingress topic.

    Args:
        limit: how many events a second pass for each tenant. After a pause, as many pass at once.
    """

    def __init__(self, limit: int) -> None:
        self._interval = 1_000.0 / limit
        # By tenant: the time until which its limit is used up. A time in the past has no effect.
        self._next: dict[str, float] = {}
        self._swept = 0
        self._waiting: dict[str, _Tenant] = {}
        self._bytes = 0

    def __len__(self) -> int:
        """Return how many events wait."""
        return sum(len(tenant.queue) for tenant in self._waiting.values())

    @property
    def first(self) -> int | None:
        """The lowest offset of a record whose event waits, None if no event waits."""
        return min((tenant.queue[0].first for tenant in self._waiting.values()), default=None)

    def admit(self, events: Sequence[Normalised], offset: int, timestamp: int, now: int) -> Admitted | None:
        """Let the events of a record pass or wait, all of them; None if there is no room for those that must wait.

        Args:
            events: the events of the record, in order.
            offset: the offset of the record.
            timestamp: the timestamp of the record, in ms since the epoch; negative if it has none.
            now: the time.
        """
        if not self._has_room(events, timestamp, now):
            return None
        passing: list[Normalised] = []
        replaced = 0
        for event in events:
            tenant = self._waiting.get(event.tenant)
            if tenant is None and self._take_turn(event.tenant, now):
                passing.append(event)
                continue
            tenant = self._waiting.setdefault(event.tenant, _Tenant()) if tenant is None else tenant
            self._bytes += event.size
            if (waiting := tenant.replaced_by(event, timestamp)) is not None:
                self._bytes -= waiting.event.size
                waiting.event = event
                replaced += 1
            else:
                tenant.last[event.claim] = waiting = _Waiting(event, offset)
                tenant.queue.append(waiting)
        return Admitted(passing, len(events) - len(passing) - replaced, replaced)

    def _has_room(self, events: Sequence[Normalised], timestamp: int, now: int) -> bool:
        """Tell whether there is room for the events that must wait. Events that pass or replace another need none."""
        more: dict[str, set[tuple[str, str]]] = {}
        passing: Counter[str] = Counter()
        size = 0
        for event in events:
            tenant = self._waiting.get(event.tenant)
            if tenant is None:
                if event.tenant not in more and self._has_turn(event.tenant, now, passing[event.tenant]):
                    passing[event.tenant] += 1
                    continue
            elif tenant.replaced_by(event, timestamp) is not None:
                continue
            more.setdefault(event.tenant, set()).add(event.claim)
            size += event.size
        if size and self._bytes + size > ROOM_BYTES:
            return False
        return all(
            len(claims) + (len(self._waiting[name].queue) if name in self._waiting else 0) <= ROOM
            for name, claims in more.items()
        )

    def due(self, now: int, most: int) -> list[Normalised]:
        """Remove and return the waiting events that may pass now, at most `most`, in order for each tenant."""
        passing: list[Normalised] = []
        for name in list(self._waiting):
            tenant = self._waiting[name]
            while tenant.queue and len(passing) < most and self._take_turn(name, now):
                waiting = tenant.queue.popleft()
                if tenant.last[waiting.event.claim] is waiting:
                    del tenant.last[waiting.event.claim]
                self._bytes -= waiting.event.size
                passing.append(waiting.event)
            # The tenant goes behind the others, since more events than `most` may be due.
            del self._waiting[name]
            if tenant.queue:
                self._waiting[name] = tenant
            if len(passing) >= most:
                break
        return passing

    def next_due(self) -> int | None:
        """Return when the next waiting event may pass, None if no event waits."""
        # Rather a millisecond late than a fraction of one early.
        return min((int(at) + 1 for at in self._turns()), default=None)

    def _turns(self) -> Iterator[float]:
        return (self._next.get(name, 0.0) - _BURST_MS + self._interval for name in self._waiting)

    def _has_turn(self, tenant: str, now: int, taken: int = 0) -> bool:
        """Tell whether an event of a tenant may pass now, after `taken` others."""
        return max(self._next.get(tenant, 0.0), now) + taken * self._interval - now <= _BURST_MS - self._interval

    def _take_turn(self, tenant: str, now: int) -> bool:
        """Tell whether an event of a tenant may pass now, and count it if so."""
        self._sweep(now)
        if not self._has_turn(tenant, now):
            return False
        self._next[tenant] = max(self._next.get(tenant, 0.0), now) + self._interval
        return True

    def _sweep(self, now: int) -> None:
        """Forget tenants without events for a second, since emitters may send any number of names."""
        if now - self._swept >= _BURST_MS:
            self._swept = now
            self._next = {name: at for name, at in self._next.items() if at > now}
