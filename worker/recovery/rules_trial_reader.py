"""Reads every tenant's record from Redis for a trial of new rules."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from schemas.domain.policy import parse_rules
from schemas.domain.sealing import NewerReleaseError
from schemas.errors import describe
from schemas.redis.progress import Progress
from worker.partition.stored_records import REBUILD, LaneStoppedError, record_of
from worker.ports import PartitionStatus, StoreError
from worker.recovery.errors import RecoveryError
from worker.recovery.rules_trial import Trial, both_sides

PAGE: Final = 500


class Records(Protocol):
    """The records in Redis; see `LaneStore`."""

    async def partition_status(self, partition: int) -> PartitionStatus:
        """Return the progress of a partition."""
        ...

    async def scan(self, partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        """Return the next cursor, 0 at the end, and some packed records."""
        ...


async def try_rules(
    store: Records,
    partitions: int,
    document: dict[str, Any],
    now: int,
    begin: Callable[[int], object] = id,
    advance: Callable[[int], object] = id,
) -> Trial:
    """Fold every tenant's record under new rules, and count what would change.

    Records are read in pages. The names of one partition's tenants are kept, since a scan may return a tenant twice.

    Args:
        store: holds the records.
        partitions: the number of partitions of the events topic.
        document: the new rules.
        now: the moment of the trial, in milliseconds.
        begin: gets the number of tenants.
        advance: gets the number of tenants that were folded since the last call.

    Raises:
        RecoveryError: if Redis does not answer, a partition is being rebuilt, or a record cannot be read.
    """
    trial = Trial()
    try:
        begin(sum([(await _progress(store, partition)).records for partition in range(partitions)]))
        for partition in range(partitions):
            await _try_partition(store, partition, document, now, trial, advance)
    except StoreError as error:
        raise RecoveryError(f"Redis does not answer: {describe(error)}") from None
    except LaneStoppedError as error:
        raise RecoveryError(str(error)) from None
    return trial


async def _try_partition(
    store: Records,
    partition: int,
    document: dict[str, Any],
    now: int,
    trial: Trial,
    advance: Callable[[int], object],
) -> None:
    seen: set[bytes] = set()
    cursor: int | None = None
    while cursor != 0:
        cursor, page = await store.scan(partition, cursor or 0, PAGE)
        # Read after the page, so that it has the rules of each record.
        progress = await _progress(store, partition)
        new = parse_rules(len(progress.rules), document)
        fresh = page.keys() - seen
        for name in fresh:
            tenant = name.decode()
            record = record_of(partition, tenant, page[name], progress.rules, progress.next)
            trial.count(tenant, both_sides(tenant, record, partition, progress.rules, new, now))
        seen |= fresh
        advance(len(fresh))


async def _progress(store: Records, partition: int) -> Progress:
    """Return the progress of a partition.

    Raises:
        RecoveryError: if it cannot be read, or the partition's records are not complete.
    """
    try:
        progress = (await store.partition_status(partition)).progress
    except NewerReleaseError as error:
        raise RecoveryError(f"partition {partition}: {error}") from None
    except ValueError as error:
        raise RecoveryError(f"the progress of partition {partition} cannot be read: {error}; {REBUILD}") from None
    if progress.next < progress.refolds_to or progress.next < 0:
        raise RecoveryError(f"partition {partition} is being rebuilt, so its records are not complete; try again later")
    return progress
