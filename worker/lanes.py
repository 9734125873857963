"""The lanes of one worker process, by partition: made on assignment, ended on revocation."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import structlog

from worker.intake import Fetched
from worker.lane import Lane, Services

# A revoked lane may finish its batch: one produce (10 s where there is no leader) and two round trips to Redis (5 s
# each), less what a rebalance leaves (60 s). After that it is cancelled, and the fence keeps whatever it still sends
# from counting.
END_SECONDS: Final = 15.0

log = structlog.get_logger("worker.lanes")


class Lanes:
    """Owns a lane, and its task, for each assigned partition of the events topic."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lanes: dict[int, Lane] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        services.metrics.lanes.labels("stopped").set_function(lambda: self._count(stopped=True))
        services.metrics.lanes.labels("running").set_function(lambda: self._count(stopped=False))

    def __iter__(self) -> Iterator[Lane]:
        """The lanes, by partition."""
        return iter([self._lanes[partition] for partition in sorted(self._lanes)])

    def get(self, partition: int) -> Lane | None:
        """Return the lane of a partition that is ours, else None."""
        return self._lanes.get(partition)

    def assign(self, partitions: Iterable[int]) -> None:
        """Make a lane for each partition that has none."""
        for partition in partitions:
            if partition in self._lanes:
                continue
            lane = self._lanes[partition] = Lane(partition, self._services)
            self._tasks[partition] = asyncio.create_task(lane.run(), name=f"lane-{partition}")

    async def revoke(self, partitions: Iterable[int]) -> None:
        """End the lanes of these partitions: what is queued is dropped, the batch in hand finished or refused."""
        ending: list[asyncio.Task[None]] = []
        for partition in partitions:
            lane = self._lanes.pop(partition, None)
            if lane is None:
                continue
            lane.end()
            ending.append(self._tasks.pop(partition))
        if ending:
            _, late = await asyncio.wait(ending, timeout=END_SECONDS)
            for task in late:
                log.warning("lane_cancelled", lane=task.get_name(), seconds=END_SECONDS)
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def end(self) -> None:
        """End every lane."""
        await self.revoke(list(self._lanes))

    def offer(self, partition: int, fetched: Fetched, acknowledge: Callable[[], object]) -> None:
        """Pass a fetched batch to its lane; one for a partition that is no longer ours is dropped."""
        lane = self._lanes.get(partition)
        if lane is None:
            acknowledge()
        else:
            lane.offer(fetched, acknowledge)

    def _count(self, *, stopped: bool) -> int:
        return sum(lane.stopped is stopped for lane in self._lanes.values())
