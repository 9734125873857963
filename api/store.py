"""What the API reads in Redis, and the one thing that it writes there: receipts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from api.dependency import UnavailableError, describe
from api.receipt import Receipt
from schemas.names import RECEIPT_KEPT_MS, PartitionKeys
from schemas.operation import OperationRecord
from schemas.partition import partition_of
from schemas.policy import Rules
from schemas.progress import unpack_rules
from schemas.record import NewerLayoutError, Record, unpack
from schemas.settings import Settings

REDIS: Final = "redis"
ANSWER_SECONDS: Final = 1.0
"""How long Redis may take to connect, and to answer."""
_CONNECTIONS: Final = 64

RedisClient = Redis | RedisCluster
# Parsing rules costs more than all the rest of a read; partitions mostly hold the same bytes.
_rules: Final = lru_cache(maxsize=64)(unpack_rules)


class TenantView(NamedTuple):
    """A tenant's partition, its record (None if never seen), and the partition's rules."""

    partition: int
    record: Record | None
    rules: list[Rules]


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

    async def put_receipt(self, receipt: Receipt) -> None:
        """Note a command that is about to be published."""
        ...

    async def confirm_receipt(self, receipt: Receipt) -> None:
        """Note the position of a published command, unless its outcome has already taken the receipt away."""
        ...

    async def drop_receipt(self, receipt: Receipt) -> None:
        """Forget a command that was not published."""
        ...

    async def progress(self) -> dict[int, int]:
        """Return each partition's next offset to apply."""
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
        return RedisCluster.from_url(settings.redis_address, retry=retry, **options)
    pool = BlockingConnectionPool.from_url(
        settings.redis_address, max_connections=_CONNECTIONS, timeout=ANSWER_SECONDS, retry=retry, **options
    )
    return Redis.from_pool(pool)


@contextmanager
def answering() -> Iterator[None]:
    """Turn what goes wrong with Redis, or with what it holds, into UnavailableError."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise UnavailableError(REDIS, describe(error)) from error
    except (NewerLayoutError, ValueError) as error:
        raise UnavailableError(REDIS, f"what it holds cannot be read: {error}") from error


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
            pipeline.execute_command("HGET", keys.tenants, tenant)
            pipeline.execute_command("HGET", keys.progress, "rules")
            packed, packed_rules = await pipeline.execute()
            rules = _rules(packed_rules)
            return TenantView(partition, None if packed is None else unpack(packed, rules), rules)

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

    async def put_receipt(self, receipt: Receipt) -> None:
        """Note a command that is about to be published, for a day."""
        with answering():
            await self._client.set(self._receipt_key(receipt), receipt.pack(), px=RECEIPT_KEPT_MS)

    async def confirm_receipt(self, receipt: Receipt) -> None:
        """Note the position, unless the receipt is gone."""
        with answering():
            await self._client.set(self._receipt_key(receipt), receipt.pack(), xx=True, keepttl=True)

    async def drop_receipt(self, receipt: Receipt) -> None:
        """Forget a command that was not published."""
        with answering():
            await self._client.delete(self._receipt_key(receipt))

    async def progress(self) -> dict[int, int]:
        """Return each partition's next offset to apply, 0 where none has begun."""
        with answering():
            pipeline = self._client.pipeline(transaction=False)
            for keys in self._keys:
                pipeline.execute_command("HGET", keys.progress, "next")
            found = await pipeline.execute()
            return {number: int(offset or 0) for number, offset in enumerate(found)}

    def _receipt_key(self, receipt: Receipt) -> str:
        return self._keys_of(receipt.tenant_id).receipt(receipt.tenant_id, receipt.operation_id)

    async def _get(self, *keys: str) -> list[bytes | None]:
        found: list[bytes | None] = await self._client.execute_command("MGET", *keys)
        return found
