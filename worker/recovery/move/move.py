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
from worker.recovery.move.content import OldPartition, contents_of
from worker.recovery.move.source import Source
from worker.recovery.move.target import Target
from worker.recovery.partition_content import PartitionContent
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
        contents = contents_of(await self._source.read(), self._new.partitions)
        return _report(contents, set(), [], began)

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
        old = await self._source.read()
        contents = contents_of(old, self._new.partitions)
        try:
            found = await self._write(contents, advance)
        except StoreError as error:
            raise RecoveryError(f"Redis does not answer: {describe(error)}; run the same command again") from None
        except OutputError as error:
            raise RecoveryError(f"Kafka does not answer: {describe(error)}; run the same command again") from None
        differences = await self._compare(old, contents)
        await self._source.require_unmoved(old)
        await self._require_no_workers()
        return _report(contents, found, differences, began)

    async def _write(self, contents: list[PartitionContent], advance: Advance) -> set[int]:
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
        for content in contents:
            if content.partition in marks:
                await target.write(content, marks[content.partition])
            advance(len(content.records))
        return found

    async def _compare(self, old: list[OldPartition], contents: list[PartitionContent]) -> list[Difference]:
        """Compare what both Redis hold, and the new Redis with the new topics."""
        before = {tenant: (each, record) for each in old for tenant, record in each.records.items()}
        operations = {key: operation for each in old for key, operation in each.operations.items()}
        differences: list[Difference] = []
        for content in contents:
            keys = sorted(content.operations)
            snapshot = await redis_snapshot.read_all(self._new_store, content.partition, keys)
            for tenant in sorted(content.records.keys() | snapshot.records.keys()):
                differences += _tenant(content, tenant, before.get(tenant), snapshot.records.get(tenant))
            for key in keys:
                differences += _operation(content.partition, operations[key], snapshot.operations[key])
        async with Verification.open(self._new) as verification:
            for content in contents:
                differences += (await verification.verify(content.partition)).differences
        return differences


def _tenant(
    content: PartitionContent, tenant: str, before: tuple[OldPartition, Record] | None, packed: bytes | None
) -> Iterator[Difference]:
    """Yield how a tenant's state, forecast, claims or policy differ."""
    here = Difference(content.partition, tenant, "redis", "", {})
    expected = None if before is None else _document(tenant, before[0].partition, before[1], before[0].rules)
    try:
        record = None if packed is None else unpack(packed, content.rules)
    except ValueError as error:
        yield here._replace(what=f"cannot be read: {error}")
        return
    actual = None if record is None else _document(tenant, content.partition, record, content.rules)
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


def _report(
    contents: list[PartitionContent], found: set[int], differences: list[Difference], began: float
) -> MoveReport:
    records = [record for content in contents for record in content.records.values()]
    states: dict[str, int] = {}
    for record in records:
        states[record.state.label] = states.get(record.state.label, 0) + 1
    return MoveReport(
        tenants=len(records),
        commands=sum(len(content.operations) for content in contents),
        policies=sum(record.policy is not None for record in records),
        rules=len(contents[0].rules) - 1,
        states=dict(sorted(states.items())),
        partitions=[
            MovedPartition(each.partition, len(each.records), len(each.operations), each.partition in found)
            for each in contents
        ],
        differences=differences,
        seconds=time.monotonic() - began,
    )
