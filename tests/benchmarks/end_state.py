"""Whether an installation ended where a plain fold of its log ends; else a run's figures are not shown."""

from collections.abc import Iterable
from typing import Final

from schemas.domain.record import unpack
from tests.benchmarks.figures import WrongEndError
from tests.support.installation import Installation

_TRIES: Final = 20


async def require_plain_fold(installation: Installation, partitions: Iterable[int] | None = None) -> None:
    """Compare every record in Redis with what a fold without a store makes of the log, a record at a time.

    Args:
        installation: one that has applied all of its log.
        partitions: those to compare, by default all.

    Raises:
        WrongEndError: if they differ.
    """
    for partition in range(installation.settings.partitions) if partitions is None else partitions:
        position, stored = await _at_rest(installation, partition)
        plain = await installation.plain_fold(partition, position)
        records = {tenant: unpack(packed, plain.rules) for tenant, packed in stored.items()}
        if records != plain.records:
            wrong = sorted(
                tenant for tenant in records | plain.records if records.get(tenant) != plain.records.get(tenant)
            )
            raise WrongEndError(
                f"partition {partition}: {len(wrong)} tenants differ from a plain fold, first {wrong[0]}"
            )


async def _at_rest(installation: Installation, partition: int) -> tuple[int, dict[str, bytes]]:
    """Return the records of a partition, and the position up to which all of them have applied the log.

    Sleeps of the load end by timers, which may come while the records are read.

    Raises:
        WrongEndError: if the position moves at every try.
    """
    for _ in range(_TRIES):
        before = await installation.applied()
        stored = await installation.stored(partition)
        if (after := await installation.applied())[partition] == before[partition]:
            return after[partition], stored
    raise WrongEndError(f"partition {partition}: it applies records all the time, so no end can be compared")
