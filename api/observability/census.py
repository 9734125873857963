"""The numbers of tenants by state, and the oldest claim that keeps a tenant asleep without an end, for the metrics.

Both are read from Redis at a bounded rate. The numbers have keys of their own. The age of claims is in the tenants'
records, so the open-ended ones are read a few at a time, and the oldest of a pass is known at its end.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf, nan
from typing import Final

from api.adapters.dependency import Pause, UnavailableError
from api.adapters.redis_store import Scanned, Store, Totals
from schemas.domain.deadlines import never_ending
from schemas.domain.state import StateName

SAMPLE_SECONDS: Final = 5.0
"""The pause between two samples, as between two checks of how Redis is run."""
STEP: Final = 100
"""How many records one round trip asks for."""
STEPS: Final = 5
"""How many round trips a sample takes for open-ended tenants. A pass over 10,000 of them takes two minutes."""


class Census:
    """Reads the numbers, and keeps them between two samples.

    Attributes:
        open_ended: how many tenants have a pin or an open-ended claim; NaN while that is unknown.
        oldest_ms: when the oldest open-ended claim began, in milliseconds of the log. NaN before the first pass has
            ended, and if the last one found no such claim.

    Args:
        partitions: the number of partitions of the events topic.
        heard: is told the numbers, each time that they are read.
    """

    def __init__(self, partitions: int, heard: Callable[[Totals], object] = lambda _: None) -> None:
        self.open_ended = nan
        self.oldest_ms = nan
        self._partitions = partitions
        self._heard = heard
        self._counts: dict[StateName, int] = {}
        self._partition = 0
        self._cursor = 0
        self._earliest = inf

    def tenants(self, state: StateName) -> float:
        """Return how many tenants are in a state, NaN while that is unknown."""
        return float(self._counts.get(state, nan))

    async def watch(self, store: Store, pause: Pause = asyncio.sleep) -> None:
        """Sample for ever. Run this as a task."""
        while True:
            # The dependency is already logged and shown in `/status`.
            try:
                self._know(await store.totals())
            except UnavailableError:
                self._forget()
            with suppress(UnavailableError):
                for _ in range(STEPS):
                    await self._step(store)
            await pause(SAMPLE_SECONDS)

    def _know(self, totals: Totals) -> None:
        self._counts, self.open_ended = totals.counts, float(totals.open_ended)
        self._heard(totals)

    def _forget(self) -> None:
        """Drop the numbers. The age of the oldest claim stays: no outage ends a claim."""
        self._counts, self.open_ended = {}, nan

    async def _step(self, store: Store) -> None:
        """Read some open-ended tenants, and go on to the next partition after the last ones of a partition.

        If Redis does not answer, or a record cannot be read, the next sample takes the same step again. The age of the
        oldest claim then stays that of the last pass.
        """
        scanned = await store.scan(self._partition, self._cursor, STEP, open_ended=True)
        self._earliest = min([self._earliest, *_beginnings(scanned)])
        self._cursor = scanned.cursor
        if self._cursor == 0:
            self._partition += 1
        if self._partition == self._partitions:
            self.oldest_ms = nan if self._earliest == inf else self._earliest
            self._partition, self._earliest = 0, inf


def _beginnings(scanned: Scanned) -> Iterator[int]:
    """Yield when the open-ended claims of tenants began, in milliseconds."""
    for record in scanned.records.values():
        terms = scanned.rules[record.rules_number].terms_for(record.policy)
        yield from (claim.since for claim in never_ending(record, terms))
