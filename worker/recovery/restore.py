"""Writing a rebuilt partition to Redis: in slices, the progress last.

Until the last slice is in, `next` is a negative mark that nobody else knows. Lanes that load or commit are refused,
readers are told that nothing is there yet, and whoever comes next may begin again. Every write moves the mark, as a
lane's commits move `next`: once Redis has lost a slice that it acknowledged, what follows is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice, pairwise
from typing import Final, Protocol, TypeVar

from schemas.names import OPERATION_KEPT_MS
from schemas.operation import OperationRecord
from schemas.progress import LAYOUT, pack_rules
from worker.batch import count_changes, written_of
from worker.ports import Commit
from worker.recovery.rebuild import Rebuilt

SLICE: Final = 2_000
Item = TypeVar("Item")


class Store(Protocol):
    """The store, as a rebuild writes it; see `worker.store.Store`."""

    async def clear(self, partition: int, expected: int | None, mark: int) -> bool:
        """Take away what a partition holds, and mark it."""

    async def commit(self, partition: int, commit: Commit) -> bool:
        """Write a slice under the mark, and move it."""


class MovedError(Exception):
    """The partition moved, forward or back, while it was rebuilt; what it holds now is not what was written."""

    def __init__(self, partition: int) -> None:
        super().__init__(
            f"partition {partition} is not where this rebuild left it: Redis was rolled back or failed over, or a "
            "worker or another rebuild is at it; stop every worker and other rebuild, and run the same command again"
        )


async def restore(
    store: Store, partition: int, partitions: int, rebuilt: Rebuilt, *, expected: int | None, mark: int, end: int
) -> None:
    """Write a partition.

    Args:
        store: where to.
        partition: its number.
        partitions: how many there are.
        rebuilt: what it is to hold.
        expected: what `next` was when the rebuild began.
        mark: a negative number; no other rebuild has it, nor those below it that its writes move on to.
        end: the end of the states partition, behind which the next lane appends.

    Raises:
        MovedError: if the partition is not as expected, or not where the last write left it.
        StoreError: if Redis does not answer; the partition is then refused until it is rebuilt again.
    """

    async def write(commit: Commit) -> None:
        if not await store.commit(partition, commit):
            raise MovedError(partition)

    if not await store.clear(partition, expected, mark):
        raise MovedError(partition)
    moves = pairwise(count(mark, -1))
    for tenants in _sliced(rebuilt.records):
        await write(_slice_of(*next(moves), rebuilt, tenants))
    now = rebuilt.timestamp if rebuilt.timestamp is not None else rebuilt.now
    kept = ((operation, kept_ms(operation, now)) for operation in rebuilt.operations.values())
    for operations in _sliced((operation, left) for operation, left in kept if left > 0):
        rows = [(found.tenant_id, found.operation_id, found.pack(), left) for found, left in operations]
        under, then = next(moves)
        await write(Commit(under, {"next": then}, {}, [], {}, [], {}, {}, rows))
    under, _ = next(moves)
    await write(Commit.of_progress(under, _progress_of(rebuilt, partitions, end)))


def kept_ms(operation: OperationRecord, now: int) -> int:
    """Return for how long the key of a command stays, from the log's time `now` on; ms."""
    return max(operation.finished_at, operation.created_at) + OPERATION_KEPT_MS - now


def _slice_of(under: int, then: int, rebuilt: Rebuilt, tenants: Sequence[str]) -> Commit:
    records = {tenant: rebuilt.records[tenant] for tenant in tenants}
    written = {tenant: written_of(record, rebuilt.rules) for tenant, record in records.items()}
    return Commit(
        position=under,
        progress={"next": then},
        records={tenant: item.packed for tenant, item in written.items() if item.packed is not None},
        removed=[],
        timers={tenant: item.due for tenant, item in written.items() if item.due is not None},
        untimed=[],
        counts=count_changes(dict.fromkeys(tenants), records),
        open_ended={tenant: True for tenant, item in written.items() if item.open_ended},
        operations=[],
    )


def _progress_of(rebuilt: Rebuilt, partitions: int, end: int) -> dict[str, bytes | str | int]:
    progress: dict[str, bytes | str | int] = {
        "next": rebuilt.next,
        "states_next": end,
        "rules": pack_rules(rebuilt.rules),
        "swept": rebuilt.swept,
        "partitions": partitions,
        "layout": LAYOUT,
    }
    if rebuilt.timestamp is not None and rebuilt.crc is not None:
        progress |= {"timestamp": rebuilt.timestamp, "crc": rebuilt.crc}
    return progress


def _sliced(items: Iterable[Item]) -> Iterator[list[Item]]:
    found = iter(items)
    while page := list(islice(found, SLICE)):
        yield page
