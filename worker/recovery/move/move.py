"""Move an installation: read what it holds, write the new partitions, compare both, and look that nothing moved."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

from schemas.domain.policy import Rules
from schemas.domain.record import Record, unpack
from schemas.errors import describe
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.settings import Settings
from schemas.wire.operation import OperationRecord
from schemas.wire.tenant_view import state_record
from worker.adapters.kafka_producer import KafkaOutputs
from worker.adapters.kafka_topics import TopicAdmin
from worker.adapters.redis_store import LaneStore
from worker.adapters.topic_reader import TopicReader, unreachable
from worker.ports import OutputError, StoreError
from worker.recovery import redis_snapshot
from worker.recovery.differences import Difference, compare_documents
from worker.recovery.errors import RecoveryError
from worker.recovery.move.content import NewPartitions, OldPartition
from worker.recovery.move.source import Source
from worker.recovery.move.target import Target
from worker.recovery.topics import Advance, RecoveryTopics
from worker.recovery.verify import Verification

_MOVED: tuple[str, ...] = ("position", "rules_number")
"""What differs in a state record after a move."""


class MovedPartition(NamedTuple):
    """A new partition; an entry of `sleepctl partitions move --json`.

    Attributes:
        found: whether an earlier run of the move had written it already.
    """

    partition: int
    tenants: int
    commands: int
    found: bool


class MoveReport(NamedTuple):
    """What was moved, or with a dry run would be.

    Attributes:
        rules: how many rules each new partition has, besides the built-in ones.
        states: how many tenants are in each state.
        differences: what does not read equal; always empty in a dry run.
    """

    tenants: int
    commands: int
    policies: int
    rules: int
    states: dict[str, int]
    partitions: list[MovedPartition]
    differences: list[Difference]
    seconds: float


class Move:
    """One run of `sleepctl partitions move`; see `open`."""

    def __init__(self, old: Settings, new: Settings, reader: TopicReader, stack: AsyncExitStack) -> None:
        self._settings = old
        self._new = new
        self._reader = reader
        self._stack = stack
        self._old_store = LaneStore.connect(old)
        self._new_store = LaneStore.connect(new)
        stack.push_async_callback(self._old_store.close)
        stack.push_async_callback(self._new_store.close)
        self._source = Source(old, RecoveryTopics(old, reader), self._old_store)

    @classmethod
    @asynccontextmanager
    async def open(cls, old: Settings, new: Settings) -> AsyncIterator["Move"]:
        """Connect, and check that no worker runs.

        Args:
            old: name the installation.
            new: name the new topics, keys and number of partitions; all else is equal.

        Raises:
            RecoveryError: if workers run.
            TopicReadError: if Kafka does not answer.
        """
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(TopicReader(old))
            move = cls(old, new, reader, stack)
            await move._require_no_workers()
            yield move

    async def _require_no_workers(self) -> None:
        if members := await self._reader.members():
            raise RecoveryError(
                f"{members} workers are in group {self._settings.consumer_group}; stop the APIs first, then the "
                "workers (a worker that was killed leaves the group after 20 seconds)"
            )

    async def plan(self) -> MoveReport:
        """Return what would be moved; nothing is written.

        Raises:
            RecoveryError: if it cannot be moved now, with what to do.
            TopicReadError: if Kafka does not answer.
        """
        began = time.monotonic()
        planned = NewPartitions(await self._source.read(), self._new.partitions)
        return _report(planned, set(), [], began)

    async def run(self, advance: Advance) -> MoveReport:
        """Create the new topics, write the new partitions, and compare.

        After an interruption it is run again: partitions that are written stay, if they still read equal.

        Args:
            advance: receives how many more tenants are written.

        Raises:
            RecoveryError: if it cannot be moved now, with what to do.
            TopicsError: if the broker refuses a topic.
            TopicReadError: if Kafka does not answer.
        """
        began = time.monotonic()
        planned = NewPartitions(await self._source.read(), self._new.partitions)
        try:
            found = await self._write(planned, advance)
            differences = await self._compare(planned)
            await self._source.require_unmoved(planned.old)
        except StoreError as error:
            raise RecoveryError(f"Redis does not answer: {describe(error)}; run the same command again") from None
        except OutputError as error:
            raise RecoveryError(f"Kafka does not answer: {describe(error)}; run the same command again") from None
        await self._require_no_workers()
        return _report(planned, found, differences, began)

    async def _write(self, planned: NewPartitions, advance: Advance) -> set[int]:
        """Write the partitions that are not written yet, and return the others."""
        outputs = KafkaOutputs(self._new)
        self._stack.push_async_callback(outputs.stop)
        try:
            admin = await self._stack.enter_async_context(TopicAdmin(self._new))
            await admin.create()
            await outputs.start()
        except (KafkaError, OSError) as error:
            raise unreachable(self._new, error) from None
        topics = RecoveryTopics(self._new, self._reader)
        target = Target(self._new, topics, self._new_store, outputs, admin, self._settings.topic_prefix)
        standings = await target.standings()
        found = {number for number, standing in enumerate(standings) if standing.written}
        # All of them first: a worker that is started too early must not find an empty partition.
        marks = await target.hold({number: each for number, each in enumerate(standings) if number not in found})
        for number in range(len(planned)):
            if number in marks:
                await target.write(planned.content(number), marks[number])
            advance(planned.tenants(number))
        return found

    async def _compare(self, planned: NewPartitions) -> list[Difference]:
        """Compare what both Redis hold, and the new Redis with the new topics."""
        differences: list[Difference] = []
        for number in range(len(planned)):
            before, operations = planned.records_before(number), planned.operations_before(number)
            snapshot = await redis_snapshot.read_all(self._new_store, number, sorted(operations))
            for tenant in sorted(before.keys() | snapshot.records.keys()):
                packed = snapshot.records.get(tenant)
                differences += _tenant(number, planned.rules, tenant, before.get(tenant), packed)
            for key, operation in sorted(operations.items()):
                differences += _operation(number, operation, snapshot.operations[key])
        async with Verification.open(self._new) as verification:
            for number in range(len(planned)):
                differences += (await verification.verify(number)).differences
        return differences


def _tenant(
    partition: int,
    rules: list[Rules],
    tenant: str,
    before: tuple[OldPartition, Record] | None,
    packed: bytes | None,
) -> Iterator[Difference]:
    """Yield how a tenant's state, forecast, claims or policy differ."""
    here = Difference(partition, tenant, "redis", "", {})
    expected = None if before is None else _document(tenant, before[0].partition, before[1], before[0].rules)
    try:
        record = None if packed is None else unpack(packed, rules)
    except ValueError as error:
        yield here._replace(what=f"cannot be read: {error}")
        return
    actual = None if record is None else _document(tenant, partition, record, rules)
    if expected != actual:
        differs = compare_documents(here, expected, actual, published_only=False)
        yield differs or here._replace(what="differs")


def _document(tenant: str, partition: int, record: Record, rules: Sequence[Rules]) -> dict[str, Any]:
    document = state_record(tenant, partition, record, rules[record.rules_number].terms_for(record.policy))
    return {name: value for name, value in document.items() if name not in _MOVED}


def _operation(partition: int, before: OperationRecord, packed: bytes | None) -> Iterator[Difference]:
    """Yield how a remembered command differs, its position aside."""
    tenant, what = before.tenant_id, f"operation {before.operation_id}"
    here = Difference(partition, tenant, "redis", what, {})
    if packed is None:
        yield here._replace(what=f"{what} is missing")
        return
    try:
        after = unpack_operation(packed, partition, tenant, before.operation_id)
    except ValueError as error:
        yield here._replace(what=f"{what} cannot be read: {error}")
        return
    if after._replace(position="") != before._replace(position=""):
        pairs = {name: (getattr(before, name), getattr(after, name)) for name in before._fields if name != "position"}
        yield here._replace(fields={name: pair for name, pair in pairs.items() if pair[0] != pair[1]})


def _report(planned: NewPartitions, found: set[int], differences: list[Difference], began: float) -> MoveReport:
    states: dict[str, int] = {}
    policies = 0
    for each in planned.old:
        for record in each.records.values():
            states[record.state.label] = states.get(record.state.label, 0) + 1
            policies += record.policy is not None
    partitions = [
        MovedPartition(number, planned.tenants(number), planned.commands(number), number in found)
        for number in range(len(planned))
    ]
    return MoveReport(
        tenants=sum(each.tenants for each in partitions),
        commands=sum(each.commands for each in partitions),
        policies=policies,
        rules=len(planned.rules) - 1,
        states=dict(sorted(states.items())),
        partitions=partitions,
        differences=differences,
        seconds=time.monotonic() - began,
    )
