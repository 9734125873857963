"""Reads what the old partitions hold: Redis at the end of the log, and the audit rows of remembered commands."""

from collections.abc import Iterable
from typing import Any, Final

from pydantic_core import from_json

from schemas.domain.record import unpack
from schemas.domain.sealing import NewerReleaseError
from schemas.errors import describe
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.settings import Settings
from schemas.wire.events import TIMER
from schemas.wire.operation import OperationRecord
from schemas.wire.state_record import parse_position
from worker.adapters.redis_store import LaneStore
from worker.adapters.topic_reader import OffsetRange
from worker.fold.decoding import Decoder
from worker.partition.startup_checks import why_unusable
from worker.ports import OperationKey, PartitionStatus, StoreError
from worker.recovery.errors import RecoveryError, RefusedError
from worker.recovery.move.content import OldPartition
from worker.recovery.topics import RecoveryTopics

_PAGE: Final = 1_000
_ROWS_AT_ONCE: Final = 20_000
_NOT_REMEMBERED: Final = ("duplicate_operation", "idempotency_conflict")


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

        Redis has only digests of ids. So the topic is read backward until each remembered command is found.

        Raises:
            RefusedError: if the topic lacks some.
        """
        rows: dict[OperationKey, dict[str, Any]] = {}
        earlier: dict[OperationKey, dict[str, Any]] = {}
        start, end = offsets
        while end > start and len(rows) < wanted:
            begin = max(start, end - _ROWS_AT_ONCE)
            found: dict[OperationKey, dict[str, Any]] = {}
            before: dict[OperationKey, dict[str, Any]] = {}
            # Of each tenant the last row, and the last one of an earlier event.
            last: dict[str, tuple[dict[str, Any], dict[str, Any] | None]] = {}
            async for page in self._topics.reader.read(self._settings.topics.transitions, partition, begin, end):
                for row in filter(None, (_row_of(record.value) for record in page)):
                    tenant = row["tenant"]
                    present, previous = last.get(tenant, (row, None))
                    previous = present if present["position"] != row["position"] else previous
                    last[tenant] = row, previous
                    if _is_remembered(row):
                        key = tenant, row["operation_id"]
                        found[key] = row
                        if previous is not None:
                            before[key] = previous
            new = [key for key in found if key not in rows]
            operations |= await self._operations(partition, [key for key in new if key not in operations])
            rows |= {key: found[key] for key in new if key in operations}
            earlier |= {key: before[key] for key in new if key in operations and key in before}
            end = begin
        if len(operations) != wanted:
            raise RefusedError(
                f"partition {partition}: Redis remembers {wanted} commands and the transitions topic has the rows of "
                f"{len(operations)}; run `sleepctl verify` to see which contradict each other"
            )
        return rows, earlier


def _row_of(value: bytes | None) -> dict[str, Any] | None:
    """Return a row of the audit, None for any other record: `sleepctl verify` names what no worker wrote."""
    try:
        row: Any = from_json(value or b"null")
        parse_position(row["position"])
        names = {name: row[name] for name in ("operation_id", "kind", "code")}
        return {**row, **names, "tenant": str(row["tenant"]), "at": int(row["at"])}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_remembered(row: dict[str, Any]) -> bool:
    """Tell whether a row is the outcome or the refusal of a command that is remembered."""
    is_command = isinstance(row["operation_id"], str) and row["kind"] != "transition"
    return is_command and row["code"] not in _NOT_REMEMBERED
