"""Looks every minute at whether Redis is run as a database."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import structlog
from redis.exceptions import ResponseError

from schemas.redis_health import RedisHealth, judge, unknown
from worker.ports import Clock, StoreError

_LOOK_SECONDS: Final = 60.0
# After an outage the server may be another one.
_RETRY_SECONDS: Final = 5.0

log = structlog.get_logger("worker.redis")


class Informed(Protocol):
    """A store that tells how its Redis is run."""

    async def info(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the `INFO` of each primary, by its name; StoreError where there is no answer."""


class RedisWatch:
    """Keeps what was last found.

    Attributes:
        health: the findings; none before the first answer, and the last ones while Redis is away.

    Args:
        store: what is looked at.
        clock: time.
        durable: whether anything is to survive the process.
    """

    def __init__(self, store: Informed, clock: Clock, *, durable: bool) -> None:
        self.health = RedisHealth()
        self._store = store
        self._clock = clock
        self._durable = durable

    async def run(self) -> None:
        """Look on connecting, and every minute."""
        while True:
            try:
                found = judge(await self._store.info(), durable=self._durable)
            except ResponseError as error:
                found = unknown(str(error))
            except StoreError:
                # `/status` asks Redis itself whether it answers.
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            except Exception:
                # What was found before must not stand there for ever as if it had just been seen.
                log.exception("redis_watch_failed")
                found = unknown("looking at it failed, a defect; see the log")
            if found != self.health:
                log.warning("redis_health", bad=found.bad, warnings=found.warnings)
            self.health = found
            await self._clock.sleep(_LOOK_SECONDS)
