"""Redis through redis-py, for worker and API: the client, its errors, and the state of each primary.

See docs/decisions/0012-redis-cluster.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.exceptions import NoPermissionError, RedisClusterException, RedisError, ResponseError

from schemas.settings import Settings

RedisClient = Redis | RedisCluster
OUTAGE: Final = (RedisError, RedisClusterException, OSError, TimeoutError)
"""The errors of an outage. If no node of a cluster answers, its client raises an error that is not a RedisError."""


class RememberedNodes(dict[str, Any]):
    """The startup nodes of a cluster's client, which would remove each unavailable node, and finally all."""

    def pop(self, key: str, *_: object) -> Any:  # noqa: ANN401 - the client's node
        """Return a node without removing it."""
        return self.get(key)


def connect(
    settings: Settings, *, seconds: float | None, retry: Retry, pool: tuple[int, float] | None = None
) -> RedisClient:
    """Return a client; it connects when first used.

    Args:
        settings: name the server or the cluster.
        seconds: the timeout of connecting, and of an answer; None for no timeout.
        retry: the errors that the client itself retries.
        pool: the number of connections to a single server, and for how many seconds a call waits for a free one;
            None for an unlimited number.
    """
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": retry}
    if settings.redis_is_cluster:
        cluster: RedisCluster = RedisCluster.from_url(settings.redis_address, **options)
        cluster.nodes_manager.startup_nodes = RememberedNodes(cluster.nodes_manager.startup_nodes)
        return cluster
    if pool is None:
        server: Redis = Redis.from_url(settings.redis_address, **options)
        return server
    connections, timeout = pool
    return Redis.from_pool(
        BlockingConnectionPool.from_url(settings.redis_address, max_connections=connections, timeout=timeout, **options)
    )


def from_the_client(error: Exception) -> bool:
    """Tell whether an error comes out of a call into redis-py, and not out of our own code.

    While a server goes away, redis-py may use a connection that was just closed. Then an error of the event loop or of
    a stream is raised, which is not an error of redis-py.
    """
    trace = error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__")).startswith("redis."):
            return True
        trace = trace.tb_next
    return False


class Primaries:
    """The primaries of a client. A single server has the empty name.

    Args:
        client: the client.
        keys: names of unused keys with a hash slot on each primary; no key is created.
    """

    def __init__(self, client: RedisClient, keys: Sequence[str]) -> None:
        self._client: Any = client
        self._is_cluster = isinstance(client, RedisCluster)
        self._keys = keys

    async def info(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the `INFO` of each primary, by its name."""
        if not self._is_cluster:
            return {"": await self._client.info()}
        await self._client.initialize()
        answers = await self._info_of_each()
        if any(info.get("role") == "slave" for info in answers.values()):
            # The client does not know of a failover yet. Discovery closes its connections, so it is done only here.
            await self._client.nodes_manager.initialize()
            answers = await self._info_of_each()
        return answers

    async def _info_of_each(self) -> dict[str, Mapping[str, Any]]:
        return {node.name: await self._client.info(target_nodes=node) for node in self._client.get_primaries()}

    async def write_errors(self) -> Mapping[str, str]:
        """Return the errors of a write that changes nothing, by the primary's name."""
        errors: dict[str, str] = {}
        for name, key in self._key_of_each().items():
            try:
                # SETRANGE with an empty value creates no key, and is refused like every write that needs memory.
                await self._client.setrange(key, 0, "")
            except NoPermissionError:
                continue  # This user may not send the command, but may send other writes.
            except ResponseError as error:
                errors[name] = str(error)
        return errors

    def _key_of_each(self) -> dict[str, str]:
        if not self._is_cluster:
            return {"": self._keys[0]}
        return {cast("str", self._client.get_node_from_key(key).name): key for key in self._keys}
