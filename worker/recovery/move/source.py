"""Reads what the old partitions hold: Redis at the end of the log, and the audit rows of remembered commands."""

from collections.abc import Iterable
from typing import Any, Final

from schemas.domain.record import unpack
from schemas.domain.sealing import NewerReleaseError
from schemas.errors import describe
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.settings import Settings
from schemas.wire.events import TIMER
from schemas.wire.operation import OperationRecord
from worker.adapters.redis_store import LaneStore
from worker.adapters.topic_reader import OffsetRange
from worker.fold.decoding import Decoder
from worker.partition.startup_checks import why_unusable
from worker.ports import OperationKey, PartitionStatus, StoreError
from worker.recovery.errors import RecoveryError, RefusedError
from worker.recovery.move.audit_rows import Stretch, needs_row_before, offset_of, row_of
from worker.recovery.move.content import OldPartition
from worker.recovery.topics import RecoveryTopics

_PAGE: Final = 1_000
_ROWS_AT_ONCE: Final = 20_000


class Source:
    """The old installation. Nothing here writes.

    Args:
        settings: name it.
        topics: its topics.
        store: its Redis.
    """

    def __init__(self, settings: Settings, topics: RecoveryTopics, store: LaneStore) -> None:
        self._settings = settings
        self._topics = topics
        self._store = store

    async def read(self) -> list[OldPartition]:
        """Return what all partitions hold.

        Raises:
            RefusedError: if a partition is not whole, or has events that no worker has applied.
            RecoveryError: if Redis does not answer.
            TopicReadError: if Kafka does not answer.
        """
        ranges = await self._topics.ranges()
        try:
            return [
                await self._partition(number, ranges.events[number], ranges.transitions[number])
                for number in range(self._settings.partitions)
            ]
        except StoreError as error:
            raise RecoveryError(f"Redis does not answer: {describe(error)}; run the same command again") from None

    async def require_unmoved(self, old: Iterable[OldPartition]) -> None:
        """Require that nothing was applied, and nothing was written but timers, since the partitions were read.

        Raises:
            RefusedError: if something was.
            TopicReadError: if Kafka does not answer.
        """
        for each in old:
            _, end = await self._topics.event_range(each.partition)
            await self._require_only_timers(each.partition, each.position, end)
            if (await self._store.mark(each.partition) or 0) != each.position:
                raise RefusedError(f"partition {each.partition} was used while it was moved: stop all workers")

    async def _partition(self, number: int, events: OffsetRange, transitions: OffsetRange) -> OldPartition:
        try:
            status = await self._store.partition_status(number)
        except NewerReleaseError as error:
            raise RefusedError(f"partition {number}: progress: {error}") from None
        except ValueError as error:
            raise RefusedError(f"partition {number}: progress cannot be used: {error}") from None
        position = status.progress.next
        if position < 0:
            raise RefusedError(f"partition {number} is being rebuilt; run `sleepctl rebuild`")
        if (reason := why_unusable(status, number, events, self._settings.partitions)) is not None:
            raise RefusedError(f"partition {number}: {reason}")
        if status.begun and status.progress.operations is None:
            raise RefusedError(f"partition {number} was last written by an older release: let a worker of this one run")
        await self._require_only_timers(number, position, events.end)
        records = await self._records(number, status)
        claimed = [
            (tenant, key)
            for tenant, record in records.items()
            for source, key in record.claims
            if source == "operation"
        ]
        operations = await self._operations(number, claimed)
        rows, earlier = await self._rows(number, transitions, operations, status.operations)
        progress = status.progress
        return OldPartition(number, position, progress.latest, progress.rules, records, operations, rows, earlier)

    async def _require_only_timers(self, partition: int, position: int, end: int) -> None:
        """Require that no worker has left out an event; a timer that is left out is made again.

        Raises:
            RefusedError: if an event is left.
        """
        decoder, left = Decoder(partition, self._settings.partitions), 0
        async for page in self._topics.events(partition, position, end):
            left += sum(getattr(decoder.decode(record).event, "type", None) != TIMER for record in page)
        if left:
            raise RefusedError(
                f"partition {partition} has {left} records that no worker has applied. Stop what writes (APIs, "
                "emitters), start a worker with SLEEP_INGRESS='[]', wait until `sleepctl verify` finds all partitions "
                "0 behind, stop the worker, and run the same command again"
            )

    async def _records(self, partition: int, status: PartitionStatus) -> dict[str, Any]:
        cursor, packed = await self._store.scan(partition, 0, _PAGE)
        while cursor:
            cursor, page = await self._store.scan(partition, cursor, _PAGE)
            packed |= page
        try:
            records = {key.decode(): unpack(record, status.progress.rules) for key, record in packed.items()}
        except ValueError as error:
            raise RefusedError(f"partition {partition}: a record cannot be read: {error}") from None
        if len(records) != status.progress.records:
            raise RefusedError(f"partition {partition} was used while it was read: stop all workers")
        return records

    async def _operations(self, partition: int, keys: list[OperationKey]) -> dict[OperationKey, OperationRecord]:
        found: dict[OperationKey, OperationRecord] = {}
        for first in range(0, len(keys), _PAGE):
            chunk = keys[first : first + _PAGE]
            for key, packed in zip(chunk, await self._store.operations(partition, chunk), strict=True):
                if packed is None:
                    continue
                try:
                    found[key] = unpack_operation(packed, partition, *key)
                except ValueError as error:
                    raise RefusedError(f"operation {key[1]} of tenant {key[0]} cannot be read: {error}") from None
        return found

    async def _rows(
        self,
        partition: int,
        offsets: OffsetRange,
        operations: dict[OperationKey, OperationRecord],
        wanted: int,
    ) -> tuple[dict[OperationKey, dict[str, Any]], dict[OperationKey, dict[str, Any]]]:
        """Return the rows of remembered commands, the newest of each, and the row before; fill in `operations`.

        Redis has only digests of ids. So the topic is read backward until each remembered command is found, and further
        for tenants whose first one still lacks the row before it.

        Raises:
            RefusedError: if the topic lacks some.
        """
        rows: dict[OperationKey, dict[str, Any]] = {}
        earlier: dict[OperationKey, dict[str, Any]] = {}
        # Of each tenant the first command known, and the offset of its event, while the row before it is not found.
        waiting: dict[str, tuple[OperationKey, int]] = {}
        start, end = offsets
        while end > start and (len(rows) < wanted or waiting):
            begin = max(start, end - _ROWS_AT_ONCE)
            stretch = Stretch({tenant: offset for tenant, (_, offset) in waiting.items()})
            only = None if len(rows) < wanted else {tenant.encode() for tenant in waiting}
            async for page in self._topics.reader.read(self._settings.topics.transitions, partition, begin, end):
                for record in page:
                    if (only is None or record.key in only) and (row := row_of(record.value)) is not None:
                        stretch.read(row)
            earlier |= {waiting.pop(tenant)[0]: row for tenant, row in stretch.answers.items()}
            new = [key for key in stretch.found if key not in rows]
            operations |= await self._operations(partition, [key for key in new if key not in operations])
            for key in filter(operations.__contains__, new):
                rows[key] = row = stretch.found[key]
                if key in stretch.before:
                    earlier[key] = stretch.before[key]
                elif needs_row_before(row):
                    waiting.setdefault(key[0], (key, offset_of(row)))
            end = begin
        if len(operations) != wanted:
            raise RefusedError(
                f"partition {partition}: Redis remembers {wanted} commands and the transitions topic has the rows of "
                f"{len(operations)}; run `sleepctl verify` to see which contradict each other"
            )
        return rows, earlier
