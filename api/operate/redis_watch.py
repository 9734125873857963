"""Looks every minute at whether Redis is run as a database, as each worker does."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import structlog
from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from api.operate.dependency import Pause, UnavailableError
from api.read.store import RedisClient, answering
from schemas.redis_health import RedisHealth, judge, unknown

LOOK_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 5.0
"""After an outage the server may be another one."""

log = structlog.get_logger(__name__)


class RedisWatch:
    """Keeps what was last found.

    Attributes:
        health: the findings; none before the first answer, and the last ones while Redis is away.
    """

    def __init__(self) -> None:
        self.health = RedisHealth()

    async def run(self, client: RedisClient, *, durable: bool = True, pause: Pause = asyncio.sleep) -> NoReturn:
        """Look on connecting, and every minute.

        Args:
            client: what is asked.
            durable: whether anything is to survive the process.
            pause: sleeps that many seconds.
        """
        while True:
            try:
                with answering():
                    found = judge(await info(client), durable=durable)
            except UnavailableError as error:
                if not isinstance(error.__cause__, ResponseError):
                    await pause(RETRY_SECONDS)
                    continue
                found = unknown(error.finding)
            if found != self.health:
                log.warning("redis_health", bad=found.bad, warnings=found.warnings)
            self.health = found
            await pause(LOOK_SECONDS)


async def info(client: RedisClient) -> dict[str, Mapping[str, Any]]:
    """Return the `INFO` of each primary, by its name; a server that is no cluster has none."""
    if not isinstance(client, RedisCluster):
        return {"": await client.info()}
    _ = await client.initialize()
    found = await _of_primaries(client)
    if any(told.get("role") == "slave" for told in found.values()):
        # The client has not heard of a failover; looking closes its connections, so only where it must.
        await client.nodes_manager.initialize()
        found = await _of_primaries(client)
    return found


async def _of_primaries(cluster: RedisCluster) -> dict[str, Mapping[str, Any]]:
    return {node.name: await cluster.info(target_nodes=node) for node in cluster.get_primaries()}
