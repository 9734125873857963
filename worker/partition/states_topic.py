"""A lane's partition of the states topic, to which no other worker may append.

The topic is compacted: a late append of a former owner would become the present record of a tenant. So the lane
remembers the offset where its own last append ended. If the topic ends elsewhere, another worker has appended, or the
topic was truncated. The lane then repairs it: it appends the present record, or a tombstone, of each key concerned.
Only a fenced commit moves the remembered end, so a repair that is interrupted starts again.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from schemas.errors import describe
from schemas.redis.progress import Progress, ProgressUpdate
from worker.partition.states_repair import StatesRepair
from worker.ports import Clock, Commit, Output, OutputError, Outputs, Reader, Store, TopicRecord

_CHECK_SECONDS: Final = 5.0
_PAGE: Final = 500


class Owner(Protocol):
    """What the states topic needs of the lane."""

    position: int | None

    def reread_position(self) -> None:
        """Read the position again."""


class StatesTopic:
    """One lane's partition of the states topic.

    Attributes:
        end: the offset after the lane's own last append, or after a repair; None until it is known.
            Committed as `states_next`.
    """

    def __init__(
        self,
        partition: int,
        store: Store,
        outputs: Outputs,
        reader: Reader,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.end: int | None = None
        self._partition = partition
        self._topic = outputs.topics.states
        self._store = store
        self._outputs = outputs
        self._reader = reader
        self._clock = clock
        self._log = log
        self._appending = False
        # The progress in Redis (`next`, `states_next`) to which `end` belongs.
        self._progress_of_end: tuple[int, int | None] | None = None

    async def append(self, records: Sequence[Output]) -> bool:
        """Append records; False if another worker has appended since the lane's last append.

        Raises:
            OutputError: if Kafka did not acknowledge them.
        """
        self._appending = True
        try:
            end = await self._outputs.send(self._topic, self._partition, records)
        finally:
            self._appending = False
        if end is None or self.end is None:
            return True
        if end != self.end + len(records):
            self._log.warning("states_overtaken", expected=self.end, actual=end - len(records))
            return False
        self.end = end
        return True

    def committed(self, position: int) -> None:
        """Note that Redis has committed a position together with `end`."""
        self._progress_of_end = position, self.end

    async def reconcile(self, progress: Progress) -> bool:
        """Compare the end of the topic with progress, and repair the topic if they differ.

        Records that this lane has appended itself since that progress need no repair: they are folded and appended
        again. Return False if the lane must read its position again.

        Raises:
            LaneStoppedError: if a record that must be published again cannot be read.
            OutputError: if Kafka does not answer.
            StoreError: if the store does not answer.
        """
        committed = progress.next, progress.states_next
        if committed != self._progress_of_end:
            self.end, self._progress_of_end = progress.states_next, committed
        end = await self._reader.end(self._topic, self._partition)
        if self.end is None:
            self.end = end
        return end == self.end or await self._repair(progress, self.end, end)

    async def watch(self, owner: Owner) -> None:
        """Check the end of the topic every 5 seconds. A lane that appends nothing would notice nothing otherwise."""
        failing = False
        while True:
            await self._clock.sleep(_CHECK_SECONDS)
            try:
                if await self._has_foreign_append(owner):
                    owner.reread_position()
                failing = False
            except OutputError as error:
                if not failing:
                    self._log.warning("states_check_failed", reason=describe(error))
                failing = True

    async def _has_foreign_append(self, owner: Owner) -> bool:
        expected = self.end
        if not self._idle(owner):
            return False
        end = await self._reader.end(self._topic, self._partition)
        # An append of this lane that is under way, or has just been acknowledged, explains the difference.
        return self._idle(owner) and expected == self.end and end != expected

    def _idle(self, owner: Owner) -> bool:
        return owner.position is not None and not self._appending

    async def _repair(self, progress: Progress, expected: int, end: int) -> bool:
        self._log.warning("states_repair", expected=expected, actual=end)
        repair = StatesRepair(progress, self._partition, self._store, self._outputs, end)
        # If the topic was truncated, any record may be missing: repair the keys that it holds, and those of all
        # tenants.
        offset = expected if end > expected else 0
        while offset < end:
            page = await self._reader.read(self._topic, self._partition, offset, _PAGE)
            if not await repair.publish(record for record in page.records if record.offset < end):
                return False
            offset = page.next if page.records else end
        cursor = 0
        while end < expected:
            cursor, tenants = await self._store.scan(self._partition, cursor, _PAGE)
            if not await repair.publish(TopicRecord(end, 0, tenant, None) for tenant in tenants):
                return False
            if not cursor:
                break
        commit = Commit(progress.next, ProgressUpdate(states_next=repair.end))
        if not await self._store.commit(self._partition, commit):
            return False
        self.end = repair.end
        self.committed(progress.next)
        self._log.info("states_repaired", keys=repair.keys, end=repair.end)
        return True
