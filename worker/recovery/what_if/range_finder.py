"""Finds the offsets and times of a range on each partition, by what the log still holds."""

from collections.abc import Collection
from contextlib import aclosing

from schemas.clock import now_ms
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from schemas.settings import Settings
from worker.adapters.topic_reader import OffsetRange
from worker.recovery.errors import RecoveryError
from worker.recovery.topics import RecoveryTopics
from worker.recovery.what_if.bounds import (
    COMMIT_OFFSETS,
    WARM_UP_MS,
    InvalidBoundError,
    LogStart,
    Place,
    Range,
    iso,
    partition_named,
    require_kept,
)


class RangeFinder:
    """Finds ranges of the events topic. A range without an end ends when this object is made."""

    def __init__(self, settings: Settings, log: RecoveryTopics) -> None:
        self._settings = settings
        self._log = log
        self._now = now_ms()
        self._offsets_at: dict[int, dict[int, int]] = {}

    async def ranges(self, from_: Place | None, to: Place | None, tenants: Collection[str] = ()) -> list[Range]:
        """Return the range on each partition that is to be replayed.

        Args:
            from_: where it begins, None for the beginning of the log.
            to: the first event that is not replayed, or the time at which everything is settled; None for now.
            tenants: the only tenants that are replayed; all by default.

        Raises:
            InvalidBoundError: if the bounds name no range of these tenants.
            RecoveryError: if retention has cut the range, or the log has no such position.
        """
        from_, to = from_ or Place(), to or Place()
        if to.at is not None and to.at > self._now:
            raise InvalidBoundError(f"--to {iso(to.at)} is still to come; it is {iso(self._now)}")
        logs = await self._log.reader.bounds(self._settings.topics.events)
        wanted = self._partitions(partition_named((from_, to)), tenants)
        starts = {number: await self._start(number, logs[number]) for number in wanted}
        require_kept(from_, starts)
        ranges = [await self._range(starts[number], number, logs[number], from_, to) for number in wanted]
        if from_ != Place() and all(range_.from_at > range_.to_at or range_.first > range_.next for range_ in ranges):
            raise InvalidBoundError("--from must be before --to")
        return ranges

    def _partitions(self, named: int | None, tenants: Collection[str]) -> list[int]:
        """Return the partitions to replay.

        Raises:
            InvalidBoundError: if the bounds name a partition that does not exist, or is not that of a tenant.
        """
        count = self._settings.partitions
        if named is not None and named >= count:
            raise InvalidBoundError(f"there is no partition {named}: SLEEP_PARTITIONS is {count}")
        owners = {tenant: partition_of(tenant, count) for tenant in tenants}
        if named is None:
            return sorted(set(owners.values())) or list(range(count))
        for tenant, owner in owners.items():
            if owner != named:
                raise InvalidBoundError(f"tenant {tenant} is on partition {owner}, and the range on partition {named}")
        return [named]

    async def _start(self, partition: int, log: OffsetRange) -> LogStart:
        first = await self.first_record(partition, *log)
        return LogStart(log.start, None if first is None else first.timestamp)

    async def first_record(self, partition: int, start: int, end: int) -> SourceRecord | None:
        """Return the first record from an offset on, None if there is none before the end."""
        async with aclosing(self._log.events(partition, start, end)) as pages:
            page = await anext(pages, None)
            return None if page is None else page[0]

    async def _range(self, start: LogStart, partition: int, log: OffsetRange, from_: Place, to: Place) -> Range:
        first, from_at = await self._resolve(from_, partition, log, (start.offset, start.at))
        next_, to_at = await self._resolve(to, partition, log, (log.end, self._now))
        to_at = self._now if to_at is None else to_at
        from_at = to_at if from_at is None else from_at
        warm_up = await self._offset_at(from_at - WARM_UP_MS, partition)
        warm_up = min(max(warm_up, start.offset), first)
        read_from = max(warm_up - COMMIT_OFFSETS, start.offset)
        return Range(partition, start.offset, read_from, warm_up, first, next_, from_at, to_at)

    async def _resolve(
        self, place: Place, partition: int, log: OffsetRange, default: tuple[int, int | None]
    ) -> tuple[int, int | None]:
        """Return the offset and the time, ms, of a bound; the time is None at the end of the log."""
        if place.at is not None:
            return await self._offset_at(place.at, partition), place.at
        if place.position is None:
            return default
        _, offset = place.position
        if offset > log.end:
            raise RecoveryError(f"the log of partition {partition} ends at {partition}:{log.end}")
        record = await self.first_record(partition, offset, log.end)
        return offset, None if record is None else record.timestamp

    async def _offset_at(self, at: int, partition: int) -> int:
        """Return the first offset of a partition of the log with this time or a later one."""
        if at not in self._offsets_at:
            self._offsets_at[at] = await self._log.reader.offsets_at(self._settings.topics.events, at)
        return self._offsets_at[at][partition]
