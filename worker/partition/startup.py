"""Where a lane starts: the progress in Redis, once it is checked against the log and the states topic.

Progress in Redis decides, and not the offset of the consumer group. So a lane starts right after Redis has lost its
last second, or after another worker has owned the partition.
"""

from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from schemas.domain.sealing import NewerReleaseError
from schemas.redis.progress import Progress
from worker.partition.context import LaneContext
from worker.partition.startup_checks import check_last_applied, check_standing, last_before
from worker.partition.states_topic import StatesTopic
from worker.partition.stored_records import REBUILD, LaneStoppedError, rebuild_by_force
from worker.ports import PartitionStatus


class NotYet(NamedTuple):
    """Why a lane cannot start now, and must read its position again."""

    reason: str


class Startup:
    """Reads and checks the position from which one lane starts.

    Attributes:
        replay_end: the offset up to which the log is replayed because Redis held no data, 0 if it is not replayed.
            Committed as `refolds_to`.

    Args:
        partition: the partition's number.
        context: what the lanes share.
        states: the lane's partition of the states topic.
        log: the lane's log.
    """

    def __init__(self, partition: int, context: LaneContext, states: StatesTopic, log: FilteringBoundLogger) -> None:
        self.replay_end = 0
        self._partition = partition
        self._context = context
        self._states = states
        self._log = log

    async def find(self, last_position: int | None) -> Progress | NotYet:
        """Return the progress from which the lane starts, or why it must wait.

        Args:
            last_position: where Redis was when this lane last knew it, None if the lane has not looked yet.

        Raises:
            LaneStoppedError: if the log no longer holds that position, or Redis has lost or changed data.
            OutputError: if Kafka does not answer.
            StoreError: if Redis does not answer.
        """
        status = await self._read_status()
        if status.progress.next < 0:
            return NotYet(f"the partition is being rebuilt; if no rebuild is running any more, {REBUILD}")
        if not await self._check(status, last_position):
            return NotYet("another worker has moved the partition; its position is read again")
        return status.progress

    async def _read_status(self) -> PartitionStatus:
        try:
            return await self._context.store.partition_status(self._partition)
        except NewerReleaseError as error:
            raise LaneStoppedError(f"progress: {error}") from error
        except ValueError as error:
            msg = f"progress cannot be used: {error} (if it is damaged, {rebuild_by_force(self._partition)})"
            raise LaneStoppedError(msg) from error

    async def _check(self, status: PartitionStatus, last_position: int | None) -> bool:
        """Check progress against the log and the states topic; False if it must be read again."""
        context, progress, events = self._context, status.progress, self._context.outputs.topics.events
        offsets = await context.offset_range(self._partition)
        check_standing(status, self._partition, offsets, context.settings.partitions)
        await check_last_applied(progress, events, self._partition, context.reader, context.offset_range)
        if not await self._states.reconcile(progress):
            return False
        if progress.next or status.records:
            self.replay_end = progress.refolds_to
        # A lane that was at offset 0 before, and is there again, has published the states of its first batch itself.
        elif self._states.end and last_position != 0:
            last = await last_before(offsets[1], events, self._partition, context.reader)
            self.replay_end = 0 if last is None else last.offset + 1
            self._log.warning("replays_log", to=self.replay_end)
        return True
