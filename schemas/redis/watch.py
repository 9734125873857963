"""Checks every few seconds how Redis is run and whether it accepts writes, for worker and API."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import structlog
from redis.exceptions import ResponseError

from schemas.clock import Clock, now_ms
from schemas.clock_skew import skew_between, skew_finding
from schemas.redis.client import OUTAGE, from_the_client
from schemas.redis.health import RedisHealth, clock_of, failed_write, judge, unknown

CHECK_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class Checked(Protocol):
    """The part of `schemas.redis.client.Primaries` that is used here."""

    async def info(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the `INFO` of each primary, by its name."""

    async def write_errors(self) -> Mapping[str, str]:
        """Return the errors of a write, by the primary's name."""


class LastWrite:
    """The result of this process's last write.

    Attributes:
        failure: why it failed, None after a success and before the first write.
    """

    def __init__(self) -> None:
        self.failure: str | None = None


class RedisWatch:
    """Holds the findings of the last check.

    Args:
        primaries: the primaries to check.
        durable: whether the data must survive the process.
        clock: the wall clock of this machine.
        pause: sleeps for some seconds.
        last_write: a failed write is a finding until a check finds that writes are accepted.

    Attributes:
        health: the findings; none before the first answer, and the last ones while Redis is away.
    """

    def __init__(
        self,
        primaries: Checked,
        *,
        durable: bool,
        clock: Clock = now_ms,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        last_write: LastWrite | None = None,
    ) -> None:
        self.health = RedisHealth()
        self._primaries = primaries
        self._durable = durable
        self._clock = clock
        self._pause = pause
        self._last_write = last_write or LastWrite()
        self._skew = 0

    @property
    def bad(self) -> tuple[str, ...]:
        """The bad findings on Redis, or else that the last write of this process failed."""
        if self.health.bad or self._last_write.failure is None:
            return self.health.bad
        return (failed_write(self._last_write.failure),)

    def skew_finding(self) -> str | None:
        """Return the finding on this machine's clock, None if it agrees with that of Redis."""
        return skew_finding("Redis", self._skew)

    async def run(self) -> None:
        """Check at once, and then every five seconds."""
        while True:
            health = await self._check()
            if health != self.health:
                log.warning("redis_health", bad=health.bad, warnings=health.warnings)
            self.health = health
            await self._pause(CHECK_SECONDS)

    async def _check(self) -> RedisHealth:
        """Return the present findings, or those of the last check if Redis does not answer."""
        try:
            return await self._judge()
        except ResponseError as error:
            return unknown(str(error))
        except Exception as error:
            if isinstance(error, OUTAGE) or from_the_client(error):
                # `/status` itself shows whether Redis answers.
                return self.health
            # Findings of an earlier check must not stay as if they were new.
            log.exception("redis_watch_failed")
            return unknown("looking at it failed, a defect; see the log")

    async def _judge(self) -> RedisHealth:
        before = self._clock()
        nodes = await self._primaries.info()
        after = self._clock()
        times = [time for node in nodes.values() if (time := clock_of(node)) is not None]
        self._skew = max((skew_between(before, time, after) for time in times), key=abs, default=0)
        write_errors = await self._primaries.write_errors()
        if not write_errors:
            self._last_write.failure = None
        return judge(nodes, write_errors, durable=self._durable)
