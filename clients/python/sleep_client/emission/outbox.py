"""The last state of each breaker and instance: what waits, what the server knows, and what is repeated.

A breaker and instance is in one of three places:

- *waiting*: its last state has to be sent. A later state takes its place in the queue.
- *held*: the server knows its state, which means sleep. It is sent again before the lease ends.
- *settled*: the server knows its state, which does not mean sleep. It is remembered so that a caller may report it
  again and again at no cost, and so that its later stamps are not earlier. The oldest is forgotten first.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sleep_client.emission.events import Event
from sleep_client.emission.report import SLEEPING, DropReason, Key, Report
from sleep_client.emission.server_time import ServerTime

MOST_KEYS: Final = 10_000
"""Breakers and instances that are remembered. A tenant has at most 256 claims at the server."""
MOST_EVENTS: Final = 200
"""Events in a batch. About as many fit into the 64 KiB of a body."""
_SKEW_MS: Final = 60_000
"""An event that is further ahead of the log is refused by the server, so it cannot make a later one stale."""
_REFUSAL_REMEMBERED_SECONDS: Final = 3600.0
"""How long after the time to try again a refused tenant is remembered, so that the log has one line about it."""
_REPEATED_TOGETHER: Final = 0.1
"""The part of the period by which a repeat may come early, to share a request with another one."""


@dataclass(slots=True)
class _Entry:
    report: Report
    floor: int = 0
    """The newest stamp of this breaker and instance that was sent, in milliseconds. Later stamps are above it."""
    claimed: bool = False
    """Whether the server may have a claim: a state that means sleep was sent, and no other one was accepted since."""
    event: Event | None = None
    """What is under way, or was sent without an answer."""
    due: float | None = None
    """When it is sent again; None if the server has not acknowledged it."""


class Outbox:
    """Reports on their way to the server.

    Args:
        period: seconds after which a state that means sleep is sent again.
        name: the first part of the events' ids.
        most_keys: breakers and instances that are remembered.
    """

    def __init__(self, period: float, name: str, most_keys: int = MOST_KEYS) -> None:
        self.dropped: Counter[DropReason] = Counter()
        self._period = period
        self._name = name
        self._most_keys = most_keys
        self._waiting: dict[Key, _Entry] = {}
        self._held: dict[Key, _Entry] = {}
        """In the order of their repeats, since all have the same period."""
        self._settled: dict[Key, _Entry] = {}
        self._parked: dict[str, float] = {}
        """Tenants that the server has refused since it last accepted them, and when to try again."""
        self._batch: list[_Entry] = []
        self._limit = MOST_EVENTS
        self._forgotten = 0
        """The newest stamp of the breakers and instances that were forgotten."""
        self._count = 0

    def report(self, report: Report) -> bool:
        """Remember a state as the last one of its breaker and instance, and return whether it has to be sent.

        The same state again changes nothing. A report for which there is no room is counted as `full`.
        """
        key = report.key
        previous = self._waiting.get(key) or self._held.get(key) or self._settled.get(key)
        if previous is None:
            if not self._make_room():
                self.dropped["full"] += 1
                return False
            self._waiting[key] = _Entry(report, self._forgotten)
            return True
        if previous.report.state == report.state:
            return False
        if key in self._waiting and previous.event is None and previous.due is None:
            self.dropped["replaced"] += 1
        self._held.pop(key, None)
        self._settled.pop(key, None)
        self._waiting[key] = _Entry(report, previous.floor, previous.claimed)
        return True

    def _make_room(self) -> bool:
        if len(self._waiting) + len(self._held) + len(self._settled) < self._most_keys:
            return True
        if not self._settled:
            return False
        self._forget(self._settled.pop(next(iter(self._settled))))
        return True

    def _forget(self, entry: _Entry) -> None:
        self._forgotten = max(self._forgotten, entry.floor)

    def due_at(self, now: float) -> float | None:
        """Return when the next event has to be sent: `now` or later; None if nothing has to be sent."""
        if self._parked:
            self._parked = {tenant: at for tenant, at in self._parked.items() if at > now - _REFUSAL_REMEMBERED_SECONDS}
        if next(self._sendable(now), None) is not None:
            return now
        moments = [*(self._parked[key.tenant] for key in self._waiting), *self._repeats()]
        return max(now, min(moments)) if moments else None

    def _sendable(self, now: float) -> Iterator[_Entry]:
        if not self._parked:
            return iter(self._waiting.values())
        return (entry for key, entry in self._waiting.items() if self._parked.get(key.tenant, now) <= now)

    @property
    def waiting(self) -> int:
        """The number of breakers and instances whose last state has to be sent."""
        return len(self._waiting)

    def take(self, now: float, server_time: ServerTime) -> list[Event]:
        """Return the next batch, of which each event has its stamp; empty if nothing is due.

        The batch is under way until `accepted` or one of the `refused` methods. If none is called, it is sent again.
        """
        self._repeat_due(now)
        self._batch = list(islice(self._sendable(now), self._limit))
        return [self._event(entry, now, server_time) for entry in self._batch]

    def _repeat_due(self, now: float) -> None:
        if min(self._repeats(), default=math.inf) > now:
            return
        until = now + self._period * _REPEATED_TOGETHER
        for key in [key for key, entry in self._held.items() if (entry.due or 0) <= until]:
            self._waiting[key] = self._held.pop(key)

    def _repeats(self) -> Iterator[float]:
        """Yield when the first repeat is due, if there is one."""
        return (entry.due or 0 for entry in islice(self._held.values(), 1))

    def _event(self, entry: _Entry, now: float, server_time: ServerTime) -> Event:
        if entry.event is None:
            self._count += 1
            entry.event = Event(f"{self._name}-{self._count}", self._stamp(entry, now, server_time), entry.report)
            entry.floor = max(entry.floor, entry.event.occurred_at or 0)
            entry.claimed = entry.claimed or entry.report.state in SLEEPING
        return entry.event

    def _stamp(self, entry: _Entry, now: float, server_time: ServerTime) -> int | None:
        """Return when the state was reported, by the server's time, and later than what was sent before.

        A repeat has the stamp of the first time: the server takes it as a renewal, and it undoes nothing that is newer.
        """
        stamp, present = server_time.at(entry.report.at), server_time.at(now)
        if stamp is None or present is None or entry.floor > present + _SKEW_MS:
            return stamp
        if entry.due is not None and entry.floor:
            return entry.floor
        return max(stamp, entry.floor + 1)

    def accepted(self, count: int, now: float) -> None:
        """Note that the first `count` events of the batch are in the log."""
        self._limit = min(self._limit * 2, MOST_EVENTS)
        for entry in self._batch[:count]:
            key = entry.report.key
            self._parked.pop(key.tenant, None)
            if self._waiting.get(key) is not entry:
                continue  # A later state took its place while the request was under way.
            del self._waiting[key]
            entry.event = None
            if entry.report.state in SLEEPING:
                entry.due = now + self._period
                self._held[key] = entry
            else:
                entry.claimed = False
                self._settled[key] = entry

    def refused(self, count: int, wrong: Sequence[int] = ()) -> None:
        """Note that the first `count` events of the batch were refused, since at least one of them is invalid.

        Args:
            count: the number of events that were sent.
            wrong: the indices of the invalid ones. If the server named none, halves of the batch find them.
        """
        for index in wrong:
            self._drop(self._batch[index])
        if not wrong and count == 1:
            self._drop(self._batch[0])
        elif not wrong:
            self._limit = max(1, count // 2)

    def _drop(self, entry: _Entry) -> None:
        if self._waiting.get(entry.report.key) is entry:
            del self._waiting[entry.report.key]
            self._forget(entry)
            self.dropped["refused"] += 1

    def refused_tenant(self, count: int, until: float) -> str | None:
        """Note that the first `count` events were refused, since one of their tenants may not be reported now.

        Halves of the batch find the tenant. Its events then wait, so that those of other tenants do not.

        Returns:
            The tenant whose events now wait until `until`; None if it is not known yet, or has been refused before.
        """
        tenants = {entry.report.key.tenant for entry in self._batch[:count]}
        self._limit = max(1, count // 2)
        if len(tenants) > 1:
            return None
        (tenant,) = tenants
        known = tenant in self._parked
        self._parked[tenant] = until
        return None if known else tenant

    def release(self, now: float) -> None:
        """Report as closed whatever the server may hold, and forget other states that mean sleep."""
        for key, entry in [*self._waiting.items(), *self._held.items()]:
            if entry.report.state not in SLEEPING:
                continue
            if entry.claimed:
                self.report(Report(key, "closed", "the emitter was closed", now))
            else:
                del self._waiting[key]

    def abandon(self) -> int:
        """Drop all that waits, and return how many reports that were."""
        count = len(self._waiting)
        self.dropped["closed"] += count
        self._waiting.clear()
        return count
