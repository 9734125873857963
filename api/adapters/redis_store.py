"""The API's reads from Redis."""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from types import TracebackType
from typing import Final, NamedTuple, Protocol

from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from api.adapters.dependency import UnavailableError, describe
from api.adapters.redis_turns import PLACES, RedisTurns
from api.commands.receipt import Receipt
from schemas.domain.policy import Rules
from schemas.domain.record import Record, unpack
from schemas.domain.sealing import NewerReleaseError
from schemas.domain.state import LABELS, StateName
from schemas.kafka.partitioner import partition_of
from schemas.names import PartitionKeys
from schemas.redis import client as redis_client
from schemas.redis.client import OUTAGE, RedisClient, from_the_client
from schemas.redis.command_memory import field_of
from schemas.redis.command_memory import unpack as unpack_operation
from schemas.redis.progress import unpack_rules
from schemas.redis.shared import SharedRedis
from schemas.redis.watch import LastWrite
from schemas.running_timeout import running_timeout
from schemas.settings import Settings
from schemas.wire.operation import OperationRecord

REDIS: Final = "redis"
ANSWER_SECONDS: Final = 1.0
"""How long Redis may take to connect, and to answer."""
# redis-py raises a connection error for a server that loads its data, and for a wrong password.
_ANSWERS: Final = (ResponseError, BusyLoadingError, AuthenticationError)
_REFUSED: Final = "Redis answers with an error"
_UNREADABLE: Final = "Redis holds data that cannot be read"
_NEWER: Final = "Redis holds data of a newer release, to which this API must be upgraded"
_REACHED: Final = ("next", "refolds_to")

# Parsing rules costs more than the rest of a read, and most partitions hold the same bytes.
rules_in: Final = lru_cache(maxsize=64)(unpack_rules)


class TenantView(NamedTuple):
    """A tenant's partition and record (None if never seen), and the partition's rules and completeness."""

    partition: int
    record: Record | None
    rules: list[Rules]
    complete: bool = True


class Scanned(NamedTuple):
    """One step of a scan of a partition's tenants: the next cursor (0 at the end), the records and the rules."""

    cursor: int
    records: dict[str, Record]
    rules: list[Rules]


class Totals(NamedTuple):
    """How many tenants are in each state, by the state's name, and how many are open-ended."""

    counts: dict[StateName, int]
    open_ended: int


class Position(NamedTuple):
    """How far a partition is applied.

    Attributes:
        next: the next offset to apply, 0 where none has begun.
        begun: whether Redis has any position.
        why_incomplete: as of `Store.why_incomplete`.
    """

    next: int
    begun: bool
    why_incomplete: str


class Store(Protocol):
    """The API's access to Redis. Every method raises UnavailableError if Redis does not answer."""

    async def tenant(self, tenant: str) -> TenantView:
        """Return a tenant and the rules over it."""
        ...

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        """Return a command's record, or else its receipt, or else None."""
        ...

    async def operations(self, tenant: str, operation_ids: Sequence[str]) -> list[OperationRecord]:
        """Return the records of these commands, without those that are missing."""
        ...

    async def scan(self, partition: int, cursor: int, count: int, *, open_ended: bool) -> Scanned:
        """Return about `count` tenants of a partition, all or the open-ended ones, from a cursor on."""
        ...

    async def totals(self) -> Totals:
        """Return the numbers of tenants as of the last fold."""
        ...

    async def progress(self) -> dict[int, int]:
        """Return each partition's next offset to apply."""
        ...

    async def positions(self) -> dict[int, Position]:
        """Return how far each partition is applied."""
        ...

    async def is_complete(self, partition: int) -> bool:
        """Tell whether Redis has all data of a partition: it is not missing, being rebuilt or replayed."""
        ...

    async def why_incomplete(self, partition: int) -> str:
        """Return why a partition is incomplete, as a clause; empty if it is complete."""
        ...


def connect(settings: Settings, *, retries: int = 1, shared: bool = False) -> RedisClient:
    """Return a client; it connects when first used.

    Args:
        settings: name the server.
        retries: how often a command is sent again at once after a broken connection. One retry replaces the
            connections of a pool that a restarted server has closed. A timeout is never retried.
        shared: whether all calls to a single server share a connection. Each call of any of these clients has a
            limited time, and that of a cluster then looks for another node.
    """
    retry = Retry(NoBackoff(), retries, supported_errors=(RedisConnectionError,))
    if shared and not settings.redis_is_cluster:
        return SharedRedis.open(settings, retry=retry, seconds=ANSWER_SECONDS)
    return redis_client.connect(settings, seconds=ANSWER_SECONDS, retry=retry, pool=(PLACES, ANSWER_SECONDS))


class answering:  # noqa: N801 - used like a function
    """Raise UnavailableError for every error of Redis, and for data in it that cannot be read.

    This and the contexts below are classes, since each command enters them, and generators take several times as long.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None and (unavailable := unavailable_for(error)) is not None:
            raise unavailable from error


def unavailable_for(error: BaseException) -> UnavailableError | None:
    """Return what is raised instead of an error of Redis, or of data in it; None for any other error."""
    match error:
        case UnavailableError():
            return None
        case _ if isinstance(error, OUTAGE):
            return UnavailableError(REDIS, describe(error), _REFUSED if isinstance(error, _ANSWERS) else None)
        case NewerReleaseError():
            return UnavailableError(REDIS, f"a newer release wrote what it holds; upgrade the API: {error}", _NEWER)
        case ValueError():
            return UnavailableError(REDIS, f"what it holds cannot be read: {error}", _UNREADABLE)
        case Exception() if from_the_client(error):
            return UnavailableError(REDIS, describe(error))
        case _:
            return None


class Writes(LastWrite):
    """Whether Redis took the last write of this process."""

    def noting(self) -> "_Noting":
        """Record the result of a write within the block. Errors are those of `answering`."""
        return _Noting(self)


class _Noting:
    __slots__ = ("_writes",)

    def __init__(self, writes: Writes) -> None:
        self._writes = writes

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._writes.failure = None
            return
        unavailable = error if isinstance(error, UnavailableError) else unavailable_for(error)
        if unavailable is not None:
            self._writes.failure = unavailable.finding
            if unavailable is not error:
                raise unavailable from error


def seconds_for(client: RedisClient) -> float | None:
    """Return the timeout of a block of calls, in seconds; None for a shared connection, which limits each call itself.

    A cluster's client needs to reach its own timeout first: then it looks for another node.
    """
    return _seconds_for(type(client))


@cache
def _seconds_for(kind: type[RedisClient]) -> float | None:
    # redis-py's classes are protocols, for which `isinstance` takes as long as the rest of a context.
    if issubclass(kind, SharedRedis):
        return None
    return 2 * ANSWER_SECONDS if issubclass(kind, RedisCluster) else ANSWER_SECONDS


class asking:  # noqa: N801 - used like a function
    """Wait for a turn, then limit the time of the block. Errors are those of `answering`."""

    __slots__ = ("_limit", "_turns")

    def __init__(self, client: RedisClient, turns: RedisTurns) -> None:
        seconds = seconds_for(client)
        self._turns = turns
        self._limit = None if seconds is None else running_timeout(seconds)

    async def __aenter__(self) -> None:
        with answering():
            await self._turns.take()
        if self._limit is not None:
            await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._limit is not None:
                with answering():
                    await self._limit.__aexit__(kind, error, trace)
        finally:
            self._turns.give()
        if error is not None and (unavailable := unavailable_for(error)) is not None:
            raise unavailable from error


def _scanned(cursor: bytes | int, packed: Mapping[bytes, bytes], packed_rules: bytes | None) -> Scanned:
    rules = rules_in(packed_rules)
    return Scanned(int(cursor), {tenant.decode(): unpack(record, rules) for tenant, record in packed.items()}, rules)


class RedisStore:
    """The store of one installation; see `Store`."""

    def __init__(
        self,
        client: RedisClient,
        prefix: str,
        partitions: int,
        turns: RedisTurns | None = None,
    ) -> None:
        self._client = client
        self._turns = turns or RedisTurns()
        self._keys = [PartitionKeys(prefix, number) for number in range(partitions)]

    @property
    def probes(self) -> list[str]:
        """Names of keys for a trial write, one for each partition."""
        return [keys.probe for keys in self._keys]

    def _place_of(self, tenant: str) -> tuple[int, PartitionKeys]:
        partition = partition_of(tenant, len(self._keys))
        return partition, self._keys[partition]

    async def tenant(self, tenant: str) -> TenantView:
        """Return a tenant and the rules over it, in one round trip."""
        partition, keys = self._place_of(tenant)
        async with asking(self._client, self._turns):
            pipeline = self._client.pipeline(transaction=False)
            # A commit may come between two commands of a pipeline. So completeness is read first: else a record that
            # is not back yet would look like one that never was. The rules are read last: else the record could name
            # rules that are missing here.
            pipeline.execute_command("HMGET", keys.progress, *_REACHED)
            pipeline.execute_command("HGET", keys.tenants, tenant)
            pipeline.execute_command("HGET", keys.progress, "rules")
            reached, packed, packed_rules = await pipeline.execute()
            rules = rules_in(packed_rules)
            record = None if packed is None else unpack(packed, rules)
            return TenantView(partition, record, rules, complete=not incompleteness(partition, *reached))

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        """Return a command's record, else its receipt, in one round trip."""
        partition, keys = self._place_of(tenant)
        async with asking(self._client, self._turns):
            older = keys.operation(tenant, operation_id), keys.receipt(tenant, operation_id)
            (record, receipt), [packed] = await self._operations(keys, older, tenant, [operation_id])
            if (packed := _first(packed, record)) is not None:
                return unpack_operation(packed, partition, tenant, operation_id)
            return None if receipt is None else Receipt.unpack(receipt)

    async def operations(self, tenant: str, operation_ids: Sequence[str]) -> list[OperationRecord]:
        """Return the records of these commands, without those that are missing, in one round trip."""
        if not operation_ids:
            return []
        partition, keys = self._place_of(tenant)
        async with asking(self._client, self._turns):
            keys_before = [keys.operation(tenant, operation_id) for operation_id in operation_ids]
            of_keys, of_hash = await self._operations(keys, keys_before, tenant, operation_ids)
            packed = zip(operation_ids, map(_first, of_hash, of_keys), strict=True)
            return [unpack_operation(item, partition, tenant, name) for name, item in packed if item is not None]

    async def scan(self, partition: int, cursor: int, count: int, *, open_ended: bool) -> Scanned:
        """Return about `count` tenants from a cursor on. A tenant that lives throughout a scan comes at least once."""
        keys = self._keys[partition]
        async with asking(self._client, self._turns):
            pipeline = self._client.pipeline(transaction=False)
            if not open_ended:
                pipeline.execute_command("HSCAN", keys.tenants, cursor, "COUNT", count)
                # The rules are read after the records, so that no record names rules that are missing here.
                pipeline.execute_command("HGET", keys.progress, "rules")
                (after, packed), packed_rules = await pipeline.execute()
                return _scanned(after, packed, packed_rules)
            after, names = await self._client.execute_command("SSCAN", keys.open, cursor, "COUNT", count)
            if not names:
                return Scanned(int(after), {}, [])
            pipeline.execute_command("HMGET", keys.tenants, *names)
            pipeline.execute_command("HGET", keys.progress, "rules")
            packed_records, packed_rules = await pipeline.execute()
            present = {name: record for name, record in zip(names, packed_records, strict=True) if record is not None}
            return _scanned(after, present, packed_rules)

    async def totals(self) -> Totals:
        """Return the numbers of tenants, in one round trip."""
        async with asking(self._client, self._turns):
            pipeline = self._client.pipeline(transaction=False)
            for keys in self._keys:
                pipeline.execute_command("HGETALL", keys.counts)
                pipeline.execute_command("SCARD", keys.open)
            answers = await pipeline.execute()
            counts = {
                label: sum(int(of_partition.get(label.encode(), 0)) for of_partition in answers[::2])
                for label in LABELS
            }
            return Totals(counts, sum(answers[1::2]))

    async def progress(self) -> dict[int, int]:
        """Return each partition's next offset to apply, 0 where none has begun."""
        async with asking(self._client, self._turns):
            pipeline = self._client.pipeline(transaction=False)
            for keys in self._keys:
                pipeline.execute_command("HGET", keys.progress, "next")
            offsets = await pipeline.execute()
            return {number: max(int(offset or 0), 0) for number, offset in enumerate(offsets)}

    async def positions(self) -> dict[int, Position]:
        """Return how far each partition is applied, in one round trip."""
        async with asking(self._client, self._turns):
            pipeline = self._client.pipeline(transaction=False)
            for keys in self._keys:
                pipeline.execute_command("HMGET", keys.progress, *_REACHED)
            reached = await pipeline.execute()
            return {
                number: Position(max(int(next_ or 0), 0), next_ is not None, incompleteness(number, next_, refolds_to))
                for number, (next_, refolds_to) in enumerate(reached)
            }

    async def is_complete(self, partition: int) -> bool:
        """Tell whether Redis has all data of a partition; see `Store`."""
        return not await self.why_incomplete(partition)

    async def why_incomplete(self, partition: int) -> str:
        """Return why a partition is incomplete; see `Store`."""
        async with asking(self._client, self._turns):
            reached = await self._client.execute_command("HMGET", self._keys[partition].progress, *_REACHED)
            return incompleteness(partition, *reached)

    async def _operations(
        self, keys: PartitionKeys, older: Sequence[str], tenant: str, operation_ids: Sequence[str]
    ) -> list[list[bytes | None]]:
        """Return the values of the older keys, then the fields of the partition's hash of commands.

        The order matters: a commit in between deletes the keys and writes the hash, which is read after it.
        """
        pipeline = self._client.pipeline(transaction=False)
        pipeline.execute_command("MGET", *older)
        fields = [field_of(tenant, operation_id) for operation_id in operation_ids]
        pipeline.execute_command("HMGET", keys.operations, *fields)
        answers: list[list[bytes | None]] = await pipeline.execute()
        return answers


def _first(packed: bytes | None, older: bytes | None) -> bytes | None:
    return older if packed is None else packed


def incompleteness(partition: int, position: bytes | None, refolds_to: bytes | None) -> str:
    """Return why a partition is incomplete, or an empty text. During a rebuild its position is negative."""
    if position is None:
        return f"Redis has no data of partition {partition}"
    if int(position) < 0:
        return f"partition {partition} is being rebuilt"
    if int(position) < int(refolds_to or 0):
        return f"the log of partition {partition} is being replayed: {int(position)} of {int(refolds_to or 0)} records"
    return ""
