"""Whether an installation ended where a plain fold of its log ends; else a run's figures are not shown."""

from collections.abc import Iterable

from schemas.domain.record import unpack
from tests.benchmarks.figures import WrongEndError
from tests.support.installation import Installation


async def require_plain_fold(installation: Installation, partitions: Iterable[int] | None = None) -> None:
    """Compare every record in Redis with what a fold without a store makes of the log, a record at a time.

    Args:
        installation: one that has applied all of its log.
        partitions: those to compare, by default all.

    Raises:
        WrongEndError: if they differ.
    """
    ends = await installation.ends()
    for partition in range(installation.settings.partitions) if partitions is None else partitions:
        plain = await installation.plain_fold(partition, ends[partition])
        stored = await installation.stored(partition)
        records = {tenant: unpack(packed, plain.rules) for tenant, packed in stored.items()}
        if records != plain.records:
            wrong = sorted(
                tenant for tenant in records | plain.records if records.get(tenant) != plain.records.get(tenant)
            )
            raise WrongEndError(
                f"partition {partition}: {len(wrong)} tenants differ from a plain fold, first {wrong[0]}"
            )
