"""Stalled partitions: records wait, and none is applied."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from math import nan
from typing import Final, NamedTuple

from api.adapters.dependency import Pause, UnavailableError
from api.adapters.redis_store import Store
from schemas.clock import Clock

SAMPLE_SECONDS: Final = 2.0
STALLED_MS: Final = 5_000
"""A partition is stalled after this time with waiting records and no progress."""

Ends = Callable[[], Awaitable[Mapping[int, int]]]


class _Backlog(NamedTuple):
    """A partition with waiting records: the next offset to apply, since when, and how many wait."""

    next: int
    since: int
    waiting: int


class StalledPartition(NamedTuple):
    """A stalled partition: the next offset to apply, how many records wait, and for how long (ms)."""

    partition: int
    next: int
    waiting: int
    for_ms: int


class Lag:
    """Compares the applied offsets with the ends of the log over time."""

    def __init__(self) -> None:
        self._backlogs: dict[int, _Backlog] = {}
        self._known = False

    def sample(self, applied: Mapping[int, int], ends: Mapping[int, int], now: int) -> None:
        """Record the offsets of all partitions at `now`, in milliseconds."""
        backlogs: dict[int, _Backlog] = {}
        for partition, end in ends.items():
            offset = applied.get(partition, 0)
            if end <= offset:
                continue
            last = self._backlogs.get(partition)
            since = last.since if last is not None and last.next == offset else now
            backlogs[partition] = _Backlog(offset, since, end - offset)
        self._backlogs = backlogs
        self._known = True

    def forget(self) -> None:
        """Drop all samples: while Kafka or Redis does not answer, nothing is known."""
        self._backlogs = {}
        self._known = False

    def waiting(self, partition: int) -> float:
        """Return how many records of a partition wait, NaN while that is unknown."""
        if not self._known:
            return nan
        backlog = self._backlogs.get(partition)
        return 0.0 if backlog is None else float(backlog.waiting)

    def stalled(self, now: int) -> list[StalledPartition]:
        """Return the stalled partitions, in order."""
        return [
            StalledPartition(partition, backlog.next, backlog.waiting, now - backlog.since)
            for partition, backlog in sorted(self._backlogs.items())
            if now - backlog.since >= STALLED_MS
        ]

    async def watch(self, store: Store, ends: Ends, clock: Clock, pause: Pause = asyncio.sleep) -> None:
        """Sample for ever. Run this as a task."""
        while True:
            try:
                applied = await store.progress()
                self.sample(applied, await ends(), clock())
            except UnavailableError:
                # The dependency is already logged and shown in `/status`.
                self.forget()
            await pause(SAMPLE_SECONDS)
