"""Partitions whose progress stands still with records waiting."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from api.clock import Clock
from api.operate.dependency import Pause, UnavailableError
from api.read.store import Store

SAMPLE_SECONDS: Final = 2.0
STANDING_MS: Final = 5_000
"""Records that wait this long, while nothing is applied, are not just on their way."""

Ends = Callable[[], Awaitable[Mapping[int, int]]]


class _Seen(NamedTuple):
    """A partition with records waiting: where its progress is, and since when."""

    next: int
    since: int
    waiting: int


class Standing(NamedTuple):
    """A partition that stands still: the next offset to apply, how many wait, and for how long (ms)."""

    partition: int
    next: int
    waiting: int
    for_ms: int


class Lag:
    """Compares what is applied with what is published, over time."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def sample(self, applied: Mapping[int, int], ends: Mapping[int, int], now: int) -> None:
        """Note where every partition is at `now`, in milliseconds."""
        seen: dict[int, _Seen] = {}
        for partition, end in ends.items():
            offset = applied.get(partition, 0)
            if end <= offset:
                continue
            before = self._seen.get(partition)
            since = before.since if before is not None and before.next == offset else now
            seen[partition] = _Seen(offset, since, end - offset)
        self._seen = seen

    def forget(self) -> None:
        """Start afresh: while Kafka or Redis do not answer, nothing can be said."""
        self._seen = {}

    def standing(self, now: int) -> list[Standing]:
        """Return the partitions that stand still, in order."""
        return [
            Standing(partition, seen.next, seen.waiting, now - seen.since)
            for partition, seen in sorted(self._seen.items())
            if now - seen.since >= STANDING_MS
        ]

    async def watch(self, store: Store, ends: Ends, clock: Clock, pause: Pause = asyncio.sleep) -> None:
        """Sample for ever; run this as a task."""
        while True:
            try:
                applied = await store.progress()
                self.sample(applied, await ends(), clock())
            except UnavailableError:
                # Whoever lost it has logged it, and `/status` shows it.
                self.forget()
            await pause(SAMPLE_SECONDS)
