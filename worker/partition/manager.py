"""The lanes of one worker process, by partition: created on assignment, ended on revocation."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import structlog

from schemas.tasks import end_tasks
from worker.partition.context import LaneContext
from worker.partition.fetch_buffer import FetchedBatch
from worker.partition.lane import Lane

# A revoked lane may finish its piece: one produce (10 s if there is no leader) and two round trips to Redis (5 s
# each). That is less than the 60 s of a rebalance. After that the lane is cancelled, and the fence refuses what it
# still sends.
END_SECONDS: Final = 15.0

CANCEL_SECONDS: Final = 1.0
"""How long a cancelled lane may take to end."""

log = structlog.get_logger("worker.partition.manager")


class LaneManager:
    """Owns a lane and its task for each assigned partition of the events topic."""

    def __init__(self, context: LaneContext) -> None:
        self._context = context
        self._lanes: dict[int, Lane] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        context.metrics.lanes.labels("stopped").set_function(lambda: self._count(stopped=True))
        context.metrics.lanes.labels("running").set_function(lambda: self._count(stopped=False))

    def __iter__(self) -> Iterator[Lane]:
        """The lanes, by partition."""
        return iter([self._lanes[partition] for partition in sorted(self._lanes)])

    def get(self, partition: int) -> Lane | None:
        """Return the lane of a partition, None if the partition is not assigned."""
        return self._lanes.get(partition)

    def assign(self, partitions: Iterable[int]) -> None:
        """Create a lane for each partition that has none."""
        for partition in partitions:
            if partition in self._lanes:
                continue
            lane = self._lanes[partition] = Lane(partition, self._context)
            self._tasks[partition] = asyncio.create_task(lane.run(), name=f"lane-{partition}")

    async def revoke(self, partitions: Iterable[int], seconds: float | None = None) -> None:
        """End the lanes of these partitions: drop their queues, and let the present piece finish.

        This takes at most `seconds` plus `CANCEL_SECONDS`.

        Args:
            partitions: the partitions that are revoked.
            seconds: how long the present piece may take, by default `END_SECONDS`.
        """
        seconds = END_SECONDS if seconds is None else seconds
        ending: list[asyncio.Task[None]] = []
        for partition in partitions:
            lane = self._lanes.pop(partition, None)
            if lane is None:
                continue
            lane.end()
            ending.append(self._tasks.pop(partition))
        if ending:
            done, late = await asyncio.wait(ending, timeout=seconds)
            for task in late:
                log.warning("lane_cancelled", lane=task.get_name(), seconds=seconds)
            for name in await end_tasks({*done, *late}, seconds=CANCEL_SECONDS, again=CANCEL_SECONDS / 4):
                log.error("lane_not_ended", lane=name, seconds=CANCEL_SECONDS)

    async def end(self, seconds: float | None = None) -> None:
        """End every lane; see `revoke`."""
        await self.revoke(list(self._lanes), seconds)

    def offer(self, partition: int, fetched: FetchedBatch, acknowledge: Callable[[], object]) -> None:
        """Pass a fetched batch to its lane; drop it if the partition is no longer assigned."""
        lane = self._lanes.get(partition)
        if lane is None:
            acknowledge()
        else:
            lane.offer(fetched, acknowledge)

    def _count(self, *, stopped: bool) -> int:
        return sum(lane.stopped is stopped for lane in self._lanes.values())
