"""The partitions of the events topic: who owns each, how far it is applied, and what is wrong with it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from api.adapters.kafka_group import Group, Owners
from api.adapters.redis_store import Store
from api.observability.lag import Ends, Lag, StalledPartition
from api.queries.completeness import Traces
from schemas.clock import Clock


class Partitions:
    """Lists the partitions.

    Args:
        store: the data in Redis.
        ends: returns the end of each partition of the log.
        traces: distinguishes an unused partition from one that Redis has lost.
        group: the workers.
        lag: knows the stalled partitions.
        monotonic: the clock of `lag`, in ms.
        clock: the time in ms.
    """

    def __init__(
        self, store: Store, ends: Ends, traces: Traces, group: Group, lag: Lag, monotonic: Clock, clock: Clock
    ) -> None:
        self._store = store
        self._ends = ends
        self._traces = traces
        self._group = group
        self._lag = lag
        self._monotonic = monotonic
        self._clock = clock

    async def document(self) -> dict[str, Any]:
        """Return all partitions.

        Raises:
            UnavailableError: if Redis or Kafka does not answer. A position of unknown lag would look like a good one.
        """
        # The positions come first. So no record counts as applied before it is in the log.
        positions = await self._store.positions()
        owners, ends = await asyncio.gather(self._group.owners(), self._ends())
        stalled = {each.partition: each for each in self._lag.stalled(self._monotonic())}
        partitions = []
        for number, position in positions.items():
            owner = owners.by_partition.get(number)
            end = max(ends[number], position.next)
            lost = position.why_incomplete
            if lost and not position.begun and await self._traces.untouched(number):
                lost = ""
            findings = [*_findings(number, owners, lost, stalled)]
            partitions.append(
                {
                    "partition": number,
                    "owner": None if owner is None else owner._asdict(),
                    "position": position.next,
                    "end": end,
                    "lag": end - position.next,
                    "finding": "; ".join(findings) or None,
                }
            )
        return {"partitions": partitions, "owners": owners.unknown, "now": self._clock()}


def _findings(number: int, owners: Owners, lost: str, stalled: Mapping[int, StalledPartition]) -> list[str]:
    findings = []
    if owners.unknown is None and number not in owners.by_partition:
        findings.append(
            "no worker owns it" if owners.settled else "no worker owns it yet: the workers share the partitions out"
        )
    if lost:
        findings.append(f"{lost}; /status of its worker says why")
    if (standing := stalled.get(number)) is not None:
        findings.append(
            f"{standing.waiting} records wait, and none was applied for {standing.for_ms // 1000} s; /status of its "
            "worker says why"
        )
    return findings
