"""What the API reads in Redis, and the one thing that it writes there: receipts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError

from api.operate.dependency import UnavailableError, describe
from api.publish.receipt import Receipt
from schemas.names import RECEIPT_KEPT_MS, PartitionKeys
from schemas.operation import OperationRecord
from schemas.partition import partition_of
from schemas.policy import Rules
from schemas.progress import unpack_rules
from schemas.record import Record, unpack
from schemas.redis_client import KeptNodes, from_the_client
from schemas.settings import Settings
from schemas.state import LABELS, StateName

REDIS: Final = "redis"
ANSWER_SECONDS: Final = 1.0
"""How long Redis may take to connect, and to answer."""
LOST: Final = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What Redis being away looks like; a cluster's client raises what is no RedisError where no node answers."""
_CONNECTIONS: Final = 64
_REACHED: Final = ("next", "refolds_to")

RedisClient = Redis | RedisCluster
# Parsing rules costs more than all the rest of a read; partitions mostly hold the same bytes.
_rules: Final = lru_cache(maxsize=64)(unpack_rules)


class TenantView(NamedTuple):
    """A tenant's partition, its record (None if never seen), the partition's rules, and whether all of it is there."""

    partition: int
    record: Record | None
    rules: list[Rules]
    whole: bool = True


class Scanned(NamedTuple):
    """A step of a walk through a partition's tenants: where the next one begins (0 at the end), and what was found."""

    cursor: int
    records: dict[str, Record]
    rules: list[Rules]


class Totals(NamedTuple):
    """How many tenants are in each state, by the state's name, and how many are open-ended."""

    counts: dict[StateName, int]
    open_ended: int


class Store(Protocol):
    """What the API asks of Redis. Every method raises UnavailableError where there is no answer."""

    async def tenant(self, tenant: str) -> TenantView:
        """Return a tenant and the rules over it."""
        ...

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        """Return a command's record, else its receipt, else None."""
        ...

    async def operations(self, tenant: str, operation_ids: Sequence[str]) -> list[OperationRecord]:
        """Return the records that there are."""
        ...

    async def put_receipt(self, receipt: Receipt) -> bool:
        """Note a command that is about to be published; False where its id has a receipt already."""
        ...

    async def confirm_receipt(self, receipt: Receipt) -> None:
        """Note the position of a published command, unless its outcome has already taken the receipt away."""
        ...

    async def drop_receipt(self, receipt: Receipt) -> None:
        """Forget a command that was not published."""
        ...

    async def scan(self, partition: int, cursor: int, count: int, *, open_ended: bool) -> Scanned:
        """Return about `count` tenants of a partition, all or the open-ended ones, from a cursor on."""
        ...

    async def totals(self) -> Totals:
        """Return how many tenants there are, as they were last folded."""
        ...

    async def progress(self) -> dict[int, int]:
        """Return each partition's next offset to apply."""
        ...

    async def whole(self, partition: int) -> bool:
        """Tell whether a partition has progress, and is neither being rebuilt nor still being folded anew."""
        ...


def connect(settings: Settings, *, retries: int = 1) -> RedisClient:
    """Return a client; it connects when first used.

    Args:
        settings: name the server.
        retries: how often a command is sent again at once after a broken connection, which heals those of a
            pool that a restarted server closed. A timeout is never retried.
    """
    retry = Retry(NoBackoff(), retries, supported_errors=(RedisConnectionError,))
    options: dict[str, Any] = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
    if settings.redis_is_cluster:
        cluster = RedisCluster.from_url(settings.redis_address, retry=retry, **options)
        cluster.nodes_manager.startup_nodes = KeptNodes(cluster.nodes_manager.startup_nodes)
        return cluster
    pool = BlockingConnectionPool.from_url(
        settings.redis_address, max_connections=_CONNECTIONS, timeout=ANSWER_SECONDS, retry=retry, **options
    )
    return Redis.from_pool(pool)


@contextmanager
def answering() -> Iterator[None]:
    """Turn what goes wrong with Redis, or with what it holds, into UnavailableError."""
    try:
        yield
    except LOST as error:
        raise UnavailableError(REDIS, describe(error)) from error
    except ValueError as error:
        raise UnavailableError(REDIS, f"what it holds cannot be read: {error}") from error
    except Exception as error:
        if not from_the_client(error):
            raise
        raise UnavailableError(REDIS, describe(error)) from error


def _scanned(cursor: bytes | int, packed: Mapping[bytes, bytes], packed_rules: bytes | None) -> Scanned:
    rules = _rules(packed_rules)
    return Scanned(int(cursor), {tenant.decode(): unpack(record, rules) for tenant, record in packed.items()}, rules)


class RedisStore:
    """The store of one installation; see `Store`."""

    def __init__(self, client: RedisClient, prefix: str, partitions: int) -> None:
        self._client = client
        self._keys = [PartitionKeys(prefix, number) for number in range(partitions)]

    def _keys_of(self, tenant: str) -> PartitionKeys:
        return self._keys[partition_of(tenant, len(self._keys))]

    async def tenant(self, tenant: str) -> TenantView:
        """Return a tenant and the rules over it, in one round trip."""
        partition = partition_of(tenant, len(self._keys))
        keys = self._keys[partition]
        with answering():
            pipeline = self._client.pipeline(transaction=False)
            # Whether all is there is read first, and the rules last: a commit between two commands of a pipeline must
            # neither make an absent record look like one that never was, nor give it rules that are not among these.
            pipeline.execute_command("HMGET", keys.progress, *_REACHED)
            pipeline.execute_command("HGET", keys.tenants, tenant)
            pipeline.execute_command("HGET", keys.progress, "rules")
            reached, packed, packed_rules = await pipeline.execute()
            rules = _rules(packed_rules)
            record = None if packed is None else unpack(packed, rules)
            return TenantView(partition, record, rules, whole=_whole(*reached))

    async def operation(self, tenant: str, operation_id: str) -> OperationRecord | Receipt | None:
        """Return a command's record, else its receipt, in one round trip."""
        keys = self._keys_of(tenant)
        with answering():
            record, receipt = await self._get(keys.operation(tenant, operation_id), keys.receipt(tenant, operation_id))
            if record is not None:
                return OperationRecord.unpack(record)
            return None if receipt is None else Receipt.unpack(receipt)

    async def operations(self, tenant: str, operation_ids: Sequence[str]) -> list[OperationRecord]:
        """Return the records that there are, in one round trip."""
        if not operation_ids:
            return []
        keys = self._keys_of(tenant)
        with answering():
            found = await self._get(*(keys.operation(tenant, operation_id) for operation_id in operation_ids))
            return [OperationRecord.unpack(packed) for packed in found if packed is not None]

    async def put_receipt(self, receipt: Receipt) -> bool:
        """Note a command that is about to be published, for a day; the first of an id stays."""
        with answering():
            written = await self._client.set(self._receipt_key(receipt), receipt.pack(), px=RECEIPT_KEPT_MS, nx=True)
            return written is not None

    async def confirm_receipt(self, receipt: Receipt) -> None:
        """Note the position, unless the receipt is gone."""
        with answering():
            await self._client.set(self._receipt_key(receipt), receipt.pack(), xx=True, keepttl=True)

    async def drop_receipt(self, receipt: Receipt) -> None:
        """Forget a command that was not published."""
        with answering():
            await self._client.delete(self._receipt_key(receipt))

    async def scan(self, partition: int, cursor: int, count: int, *, open_ended: bool) -> Scanned:
        """Return about `count` tenants from a cursor on; a tenant that stays throughout a walk is met at least once."""
        keys = self._keys[partition]
        with answering():
            pipeline = self._client.pipeline(transaction=False)
            if not open_ended:
                pipeline.execute_command("HSCAN", keys.tenants, cursor, "COUNT", count)
                # The rules are read after the records, so that none names rules that are not among them.
                pipeline.execute_command("HGET", keys.progress, "rules")
                (after, packed), packed_rules = await pipeline.execute()
                return _scanned(after, packed, packed_rules)
            after, names = await self._client.execute_command("SSCAN", keys.open, cursor, "COUNT", count)
            if not names:
                return Scanned(int(after), {}, [])
            pipeline.execute_command("HMGET", keys.tenants, *names)
            pipeline.execute_command("HGET", keys.progress, "rules")
            found, packed_rules = await pipeline.execute()
            there = {name: record for name, record in zip(names, found, strict=True) if record is not None}
            return _scanned(after, there, packed_rules)

    async def totals(self) -> Totals:
        """Return how many tenants there are, in one round trip."""
        with answering():
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
        with answering():
            pipeline = self._client.pipeline(transaction=False)
            for keys in self._keys:
                pipeline.execute_command("HGET", keys.progress, "next")
            found = await pipeline.execute()
            return {number: max(int(offset or 0), 0) for number, offset in enumerate(found)}

    async def whole(self, partition: int) -> bool:
        """Tell whether a partition has progress, and is neither being rebuilt nor still being folded anew."""
        with answering():
            return _whole(*await self._client.execute_command("HMGET", self._keys[partition].progress, *_REACHED))

    def _receipt_key(self, receipt: Receipt) -> str:
        return self._keys_of(receipt.tenant_id).receipt(receipt.tenant_id, receipt.operation_id)

    async def _get(self, *keys: str) -> list[bytes | None]:
        found: list[bytes | None] = await self._client.execute_command("MGET", *keys)
        return found


def _whole(position: bytes | None, refolds_to: bytes | None) -> bool:
    """Tell whether all of a partition is there: while it is rebuilt its position is negative."""
    return position is not None and int(position) >= int(refolds_to or 0)
