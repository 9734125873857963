"""What Redis holds of a partition, read in pages."""

from typing import Final, NamedTuple, TypeVar

from worker.adapters.redis_store import LaneStore
from worker.ports import Index, OperationKey

_PAGE: Final = 1_000
_PAGE_AT_POSITION: Final = 10_000
Item = TypeVar("Item")


class RedisSnapshot(NamedTuple):
    """What Redis holds of some tenants and commands; None for a record or a command that it does not hold."""

    records: dict[str, bytes | None]
    beside: Index
    operations: dict[OperationKey, bytes | None]


async def read_all(store: LaneStore, partition: int, commands: list[OperationKey]) -> RedisSnapshot:
    """Read all records, the index, and some commands. Redis may move on between two pages.

    Raises:
        StoreError: if Redis does not answer.
    """
    cursor, packed = await store.scan(partition, 0, _PAGE)
    while cursor:
        cursor, page = await store.scan(partition, cursor, _PAGE)
        packed |= page
    operations: dict[OperationKey, bytes | None] = {}
    for chunk in _chunks(commands, _PAGE):
        operations |= zip(chunk, await store.operations(partition, chunk), strict=True)
    records: dict[str, bytes | None] = {tenant.decode(errors="replace"): record for tenant, record in packed.items()}
    return RedisSnapshot(records, await store.index(partition), operations)


async def read_at(
    store: LaneStore, partition: int, position: int, tenants: list[str], commands: list[OperationKey]
) -> RedisSnapshot | None:
    """Read some records, their index and some commands at one position; None if Redis is at another.

    Raises:
        StoreError: if Redis does not answer.
    """
    snapshot = RedisSnapshot({}, Index({}, {}, set()), {})
    for names in _chunks(tenants, _PAGE_AT_POSITION) or [[]]:
        index = await store.index_at(partition, position, names)
        if index is None or not await _read_records(store, partition, position, names, snapshot):
            return None
        snapshot.beside.timers.update(index.timers)
        snapshot.beside.counts.update(index.counts)
        snapshot.beside.open.update(index.open)
    for chunk in _chunks(commands, _PAGE_AT_POSITION):
        if (loaded := await store.load(partition, position, [], chunk)) is None:
            return None
        snapshot.operations.update(zip(chunk, loaded.operations, strict=True))
    return snapshot


async def _read_records(
    store: LaneStore, partition: int, position: int, names: list[str], snapshot: RedisSnapshot
) -> bool:
    """Read records at a position, as many at a time as fit into one answer; False if Redis is at another."""
    while True:
        loaded = await store.load(partition, position, names, [])
        if loaded is None:
            return False
        snapshot.records.update(zip(names, loaded.records, strict=False))
        names = names[len(loaded.records) :]
        if not names:
            return True


def _chunks(items: list[Item], most: int) -> list[list[Item]]:
    return [items[first : first + most] for first in range(0, len(items), most)]
