"""Looks every minute at whether Redis is run as a database, as each worker does."""

import asyncio
from typing import Final, NoReturn

import structlog
from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from api.operate.dependency import Pause, UnavailableError
from api.read.store import RedisClient, answering
from schemas.redis_client import info
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
                    found = judge(await info(client, cluster=isinstance(client, RedisCluster)), durable=durable)
            except UnavailableError as error:
                if not isinstance(error.__cause__, ResponseError):
                    await pause(RETRY_SECONDS)
                    continue
                found = unknown(error.finding)
            if found != self.health:
                log.warning("redis_health", bad=found.bad, warnings=found.warnings)
            self.health = found
            await pause(LOOK_SECONDS)
