"""The end of a lane's states partition, where nobody else may append.

What is published twice is the same twice, but a stale owner's late append would stand in the compacted topic as a
tenant's present record. So the lane knows where its own last append ended. Where something else lies behind it, or
the topic was cut, the present record (or a tombstone) of every key concerned is appended again, and only a commit
under the fence moves the end on: a repair that is interrupted is begun anew.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from schemas.errors import describe
from schemas.progress import Progress
from worker.ports import Clock, Commit, Kept, Output, OutputError, Outputs, Reader, Store
from worker.repair import Repair

_LOOK_SECONDS: Final = 5.0
_PAGE: Final = 500


class Owner(Protocol):
    """The lane, as its states see it."""

    position: int | None

    def look_again(self) -> None:
        """Read the position again."""


class States:
    """One lane's partition of the states topic.

    Attributes:
        end: the offset before which everything is this lane's own, or was repaired; None until looked at.
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
        # Where Redis stood when `end` was last known to belong to it.
        self._standing: tuple[int, int | None] | None = None

    async def append(self, records: Sequence[Output]) -> bool:
        """Append a batch's records; False where anything of somebody else's came between.

        Raises:
            OutputError: if they were not acknowledged.
        """
        self._appending = True
        try:
            end = await self._outputs.send(self._topic, self._partition, records)
        finally:
            self._appending = False
        if end is None or self.end is None:
            return True
        if end != self.end + len(records):
            self._log.warning("states_overtaken", expected=self.end, found=end - len(records))
            return False
        self.end = end
        return True

    def committed(self, position: int) -> None:
        """Note that Redis stands at a position now, and has `end` as it is."""
        self._standing = position, self.end

    async def settle(self, progress: Progress) -> bool:
        """Hold the end against what progress says of it, and repair; False where the lane must look again.

        What this lane has appended itself since that very progress is no foreign range: it is folded, and so
        appended, once more.

        Raises:
            LaneStoppedError: if a record that is to be published again cannot be read.
            OutputError: if Kafka does not answer.
            StoreError: if the store does not answer.
        """
        standing = progress.next, progress.states_next
        if standing != self._standing:
            self.end, self._standing = progress.states_next, standing
        end = await self._reader.end(self._topic, self._partition)
        if self.end is None:
            self.end = end
        return end == self.end or await self._repair(progress, self.end, end)

    async def watch(self, owner: Owner) -> None:
        """Look at the partition's end every 5 seconds, for a lane that appends nothing itself."""
        failing = False
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            try:
                if await self._moved(owner):
                    owner.look_again()
                failing = False
            except OutputError as error:
                if not failing:
                    self._log.warning("states_not_looked_at", reason=describe(error))
                failing = True

    async def _moved(self, owner: Owner) -> bool:
        known = self.end
        if not self._idle(owner):
            return False
        end = await self._reader.end(self._topic, self._partition)
        # An append of our own that is under way, or has just been acknowledged, is no reason.
        return self._idle(owner) and known == self.end and end != known

    def _idle(self, owner: Owner) -> bool:
        return owner.position is not None and not self._appending

    async def _repair(self, progress: Progress, expected: int, end: int) -> bool:
        self._log.warning("states_repair", expected=expected, found=end)
        repair = Repair(progress, self._partition, self._store, self._outputs, end)
        # Where the topic was cut nobody knows what is missing: all that it holds, and all that it should hold.
        offset = expected if end > expected else 0
        while offset < end:
            page = await self._reader.read(self._topic, self._partition, offset, _PAGE)
            if not await repair.publish(record for record in page.records if record.offset < end):
                return False
            offset = page.next if page.records else end
        cursor = 0
        while end < expected:
            cursor, tenants = await self._store.scan(self._partition, cursor, _PAGE)
            if not await repair.publish(Kept(end, 0, tenant, None) for tenant in tenants):
                return False
            if not cursor:
                break
        commit = Commit.of_progress(progress.next, {"states_next": repair.end})
        if not await self._store.commit(self._partition, commit):
            return False
        self.end = repair.end
        self.committed(progress.next)
        self._log.info("states_repaired", keys=repair.keys, end=repair.end)
        return True
