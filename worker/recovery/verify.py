"""Verify a partition: read its topics and Redis, replay the log, compare.

Everything is compared at a cut: the position of Redis when it was first read. Tenants that changed while they were read
are read again, at the position of Redis then; one script reads the position and the records together. States from
beyond the cut belong to a worker that has published and not committed yet, as long as Redis moves on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, NamedTuple

from schemas.domain.sealing import NewerReleaseError
from schemas.errors import describe
from schemas.settings import Settings
from worker.adapters.redis_store import LaneStore
from worker.adapters.topic_reader import TopicReader
from worker.partition.stored_records import REBUILD, rebuild_by_force
from worker.ports import OperationKey, PartitionStatus, StoreError
from worker.recovery import redis_snapshot
from worker.recovery.audit import Audit
from worker.recovery.compare import Comparison
from worker.recovery.differences import Difference
from worker.recovery.errors import ContradictionError, RecoveryError
from worker.recovery.evidence import PartitionEvidence
from worker.recovery.redis_snapshot import RedisSnapshot
from worker.recovery.states_history import StatesHistory
from worker.recovery.topics import RecoveryTopics

_TRIES: Final = 100
_PAUSE_SECONDS: Final = 0.05


class VerifiedPartition(NamedTuple):
    """A partition that was compared; a line of `sleepctl verify --json`.

    Attributes:
        next: the position of Redis when it was first read.
        behind: how many offsets that was before the log's end, None if the partition could not be compared.
        tenants: how many tenants were compared.
        records: how many records of the log were folded.
        again: how many tenants changed meanwhile and were read again.
        believed: how many tenants began with a published state, since the log's beginning is gone.
    """

    partition: int
    next: int
    behind: int | None
    tenants: int
    records: int
    again: int
    believed: int
    differences: list[Difference]


class Verification:
    """One run of `sleepctl verify`; see `open`. It writes nothing."""

    def __init__(self, settings: Settings, topics: RecoveryTopics, store: LaneStore) -> None:
        self._partitions = settings.partitions
        self._topics = topics
        self._store = store

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator["Verification"]:
        """Connect.

        Raises:
            TopicReadError: if Kafka does not answer.
        """
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(TopicReader(settings))
            store = LaneStore.connect(settings)
            stack.push_async_callback(store.close)
            yield cls(settings, RecoveryTopics(settings, reader), store)

    async def verify(self, partition: int) -> VerifiedPartition:
        """Compare a partition.

        Raises:
            RecoveryError: if Redis does not answer, or the topics contradict each other.
            TopicReadError: if Kafka does not answer.
        """
        try:
            return await self._verify(partition)
        except ContradictionError as error:
            raise RecoveryError(f"partition {partition} cannot be compared: {error}") from None
        except StoreError as error:
            raise RecoveryError(f"Redis does not answer: {describe(error)}") from None

    async def _verify(self, partition: int) -> VerifiedPartition:
        try:
            status = await self._store.partition_status(partition)
        except NewerReleaseError as error:
            return _unreadable(partition, f"progress: {error}")
        except ValueError as error:
            return _unreadable(partition, f"progress cannot be used: {error}; {rebuild_by_force(partition)}")
        cut = status.progress.next
        start, end = await self._topics.event_range(partition)
        if not start <= cut <= end:
            cure = rebuild_by_force(partition) if status.begun and cut >= 0 else REBUILD
            return _unreadable(partition, f"progress is {cut} and the log holds {start} to {end}; {cure}", cut)
        comparison = Comparison(await self._read_evidence(partition, start, cut))
        # Read after the states: a worker may have gone on.
        _, later = await self._topics.event_range(partition)
        await self._replay(comparison, start, cut)
        differences = [*comparison.progress(status), *comparison.states(), *comparison.from_the_future(later)]
        snapshot = await redis_snapshot.read_all(self._store, partition, comparison.remembered(status.progress))
        tenants = comparison.tenants() | snapshot.records.keys()
        suspects, again = _compare(comparison, tenants, snapshot, status), 0
        if suspects:
            commands = list(comparison.operations(snapshot.operations, status.progress))
            again = len({suspect.tenant for suspect in suspects if suspect.tenant is not None})
            suspects, cut = await self._compare_again(comparison, suspects, commands, cut)
        if (published := comparison.published(later)) is not None:
            differences += await self._uncommitted(partition, status, published)
        return VerifiedPartition(
            partition=partition,
            next=status.progress.next,
            behind=end - status.progress.next,
            tenants=len(tenants),
            records=cut - start,
            again=again,
            believed=comparison.believed,
            differences=[*differences, *suspects],
        )

    async def _read_evidence(self, partition: int, start: int, cut: int) -> PartitionEvidence:
        """Read dead letters, states and audit. Workers publish before they commit, so these reach the cut."""
        topics, skipped = self._topics, self._topics.dead_letters.skipped(partition)
        await topics.dead_letters.read_on()
        history = StatesHistory(partition, self._partitions, before=cut, settled=start, skipped=skipped)
        await topics.read_states(history, await topics.state_range(partition))
        audit = Audit(partition, cut, skipped)
        # A log from offset 0 on judges every command anew. Then the audit only says which dead letters were folded.
        if start or skipped:
            await topics.read_audit(audit, await topics.transition_range(partition))
        return PartitionEvidence(partition, self._partitions, history, audit, start, cut, cut, skipped)

    async def _replay(self, comparison: Comparison, start: int, end: int) -> None:
        async for page in self._topics.events(comparison.partition, start, end):
            comparison.replay.read(page)

    async def _compare_again(
        self, comparison: Comparison, suspects: list[Difference], commands: list[OperationKey], cut: int
    ) -> tuple[list[Difference], int]:
        """Compare what differs once more, at the position of Redis now.

        Returns:
            What still differs, and that position.
        """
        partition = comparison.partition
        names = sorted({difference.tenant for difference in suspects if difference.tenant is not None})
        for _ in range(_TRIES):
            try:
                status: PartitionStatus = await self._store.partition_status(partition)
            except ValueError as error:
                return _unreadable(partition, f"progress cannot be used: {error}").differences, cut
            position = status.progress.next
            # If Redis has not moved, the first look was right. If it lost records or commands, it refuses every load.
            lost = status.records != status.progress.records
            lost |= status.progress.operations not in (None, status.operations)
            if position == cut or lost:
                return suspects, cut
            snapshot = await redis_snapshot.read_at(self._store, partition, position, names, commands)
            if snapshot is not None and position >= cut:
                await self._topics.dead_letters.read_on()
                await self._replay(comparison, cut, position)
                return _compare(comparison, names, snapshot, status), position
            await asyncio.sleep(_PAUSE_SECONDS)
        who = f"{len(names)} tenants" if names else "the counts"
        what = f"{who} could not be compared: Redis changed at each of {_TRIES} tries, or was rolled back"
        return [Difference(partition, None, "redis", what, {})], cut

    async def _uncommitted(self, partition: int, status: PartitionStatus, published: int) -> list[Difference]:
        """Wait for a worker to commit what it has published; return a difference if none does."""
        position = status.progress.next
        for _ in range(_TRIES):
            # An invalid number has not moved on; the next run reports it.
            with suppress(ValueError):
                # Any move shows that a worker is alive; `behind` says how far it was.
                if (await self._store.mark(partition) or 0) > position:
                    return []
            await asyncio.sleep(_PAUSE_SECONDS)
        where = f"progress is {position}" if status.begun else "there is no progress"
        lost, cure = ("rolled back", rebuild_by_force(partition)) if status.begun else ("emptied", REBUILD)
        what = (
            f"{where} and states were published up to {published}, and nobody commits them: a worker died before its "
            f"commit, or Redis was {lost}; start a worker, or {cure}"
        )
        return [Difference(partition, None, "redis", what, {})]


def _compare(
    comparison: Comparison, tenants: Iterable[str], snapshot: RedisSnapshot, status: PartitionStatus
) -> list[Difference]:
    """Return what differs in Redis, of these tenants and of the commands that were read."""
    rules = status.progress.rules
    indexed = {*tenants, *snapshot.beside.timers, *snapshot.beside.open}
    return [
        *comparison.redis(tenants, snapshot.records, rules),
        *comparison.index(sorted(indexed), snapshot.records, rules, snapshot.beside),
        *comparison.counts(snapshot.beside),
        *comparison.operations(snapshot.operations, status.progress).values(),
    ]


def _unreadable(partition: int, what: str, cut: int = 0) -> VerifiedPartition:
    return VerifiedPartition(partition, cut, None, 0, 0, 0, 0, [Difference(partition, None, "redis", what, {})])
