"""Write a rebuilt partition to Redis: in slices, the progress last.

Until the last slice is written, `next` is a negative mark that only this rebuild knows. Lanes that load or commit are
refused, and readers learn that the partition is not there yet. Another rebuild may start over. Every write moves the
mark, as a lane's commit moves `next`. So if Redis loses a slice that it acknowledged, the next write is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice, pairwise
from typing import Final, Protocol, TypeVar

from schemas.redis.progress import ProgressUpdate, pack_rules
from schemas.wire.operation import OperationRecord
from worker.fold.written import claims_of, count_changes, pack_operation, written_of
from worker.ports import Commit, OperationKey
from worker.recovery.errors import RecoveryError
from worker.recovery.partition_content import PartitionContent

SLICE: Final = 2_000
Item = TypeVar("Item")


class Store(Protocol):
    """The store that a rebuild writes; see `worker.adapters.redis_store.LaneStore`."""

    async def clear(self, partition: int, expected: int | None, mark: int) -> bool:
        """Remove what a partition holds, and mark it."""

    async def commit(self, partition: int, commit: Commit) -> bool:
        """Write a slice under the mark, and move it."""


class MovedError(RecoveryError):
    """The partition's progress changed while it was rebuilt; it no longer holds what the rebuild wrote."""

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"partition {partition} is not where this rebuild left it: Redis was rolled back or failed over, or a "
            "worker or another rebuild uses it; stop every worker and other rebuild, and run the same command again"
        )


async def restore(store: Store, content: PartitionContent, *, expected: int | None, mark: int, end: int) -> None:
    """Write a partition.

    Args:
        store: where to.
        content: what the partition is to hold.
        expected: what `next` was when the rebuild began.
        mark: a negative number. No other rebuild uses it, nor the lower ones to which the writes move it.
        end: the end of the states partition, where the next lane appends.

    Raises:
        MovedError: if the partition is not as expected, or not where the last write left it.
        StoreError: if Redis does not answer; the partition is then refused until it is rebuilt again.
    """
    partition = content.partition

    async def write(commit: Commit) -> None:
        if not await store.commit(partition, commit):
            raise MovedError(partition)

    if not await store.clear(partition, expected, mark):
        raise MovedError(partition)
    moves = pairwise(count(mark, -1))
    for tenants in _sliced(content.records):
        await write(_records_commit(*next(moves), content, tenants))
    for operations in _sliced(sorted(content.operations.values(), key=lambda operation: operation.finished_at)):
        await write(_operations_commit(*next(moves), content, operations))
    position, _ = next(moves)
    await write(Commit(position, _progress_of(content, end)))


def _records_commit(position: int, following: int, content: PartitionContent, tenants: Sequence[str]) -> Commit:
    records = {tenant: content.records[tenant] for tenant in tenants}
    written = {tenant: written_of(record, content.rules) for tenant, record in records.items()}
    return Commit(
        position=position,
        progress=_moved_to(following),
        records={tenant: item.packed for tenant, item in written.items() if item.packed is not None},
        timers={tenant: item.due for tenant, item in written.items() if item.due is not None},
        count_changes=count_changes(dict.fromkeys(tenants), records),
        open_ended={tenant: True for tenant, item in written.items() if item.open_ended},
    )


def _operations_commit(
    position: int, following: int, content: PartitionContent, operations: Sequence[OperationRecord]
) -> Commit:
    packed: dict[OperationKey, bytes] = {}
    ended: list[OperationKey] = []
    for operation in operations:
        key, record = (operation.tenant_id, operation.operation_id), content.records.get(operation.tenant_id)
        packed[key] = pack_operation(operation, record)
        if not operation.lives_in(claims_of(record)):
            ended.append(key)
    return Commit(position, _moved_to(following), operations=packed, ended_operations=ended)


def _moved_to(mark: int) -> ProgressUpdate:
    """Return the progress of a slice, which moves the mark and leaves the layout to the last commit."""
    return ProgressUpdate(next=mark, layout=None)


def _progress_of(content: PartitionContent, end: int) -> ProgressUpdate:
    known = content.timestamp is not None and content.crc is not None
    return ProgressUpdate(
        next=content.next,
        timestamp=content.timestamp if known else None,
        crc=content.crc if known else None,
        highest=content.highest,
        states_next=end,
        rules=pack_rules(content.rules),
        swept=content.swept,
        partitions=content.partitions,
    )


def _sliced(items: Iterable[Item]) -> Iterator[list[Item]]:
    left = iter(items)
    while page := list(islice(left, SLICE)):
        yield page
