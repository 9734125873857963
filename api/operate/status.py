"""Whether this process serves, and what it found of everything that it depends on."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from api.clock import Clock
from api.operate.dependency import Dependency
from api.operate.lag import Lag
from api.operate.redis_watch import RedisWatch
from api.read.store import REDIS

STARTING_SECONDS: Final = 3.0
"""How long readiness waits for the first attempt on each dependency, at most."""


class Status:
    """The process's phase and its dependencies.

    Attributes:
        began: set once the process serves: after the first attempts, whatever they found.
        ready: whether it serves, from then on until it stops.
        dependencies: each dependency, in the order in which they are shown.
        lag: what is known of the partitions' progress.
        redis: what is known of how Redis is run.
    """

    def __init__(
        self, dependencies: Iterable[Dependency], lag: Lag, clock: Clock, redis: RedisWatch | None = None
    ) -> None:
        self.dependencies = tuple(dependencies)
        self.lag = lag
        self.redis = redis or RedisWatch()
        self.began = asyncio.Event()
        self.ready = False
        self._clock = clock

    async def begin(self) -> None:
        """Become ready once each dependency was tried."""
        try:
            async with asyncio.timeout(STARTING_SECONDS):
                for dependency in self.dependencies:
                    await dependency.tried.wait()
        except TimeoutError:
            # One hangs. It must not keep the probe from passing: reads may work without Kafka, say.
            pass
        self.ready = True
        self.began.set()

    def end(self) -> None:
        """Become unready: the process stops."""
        self.ready = False

    @property
    def good(self) -> bool:
        """Whether every dependency answers, and Redis takes nothing away."""
        return all(dependency.up for dependency in self.dependencies) and not self.redis.health.bad

    def document(self) -> dict[str, Any]:
        """Return what `/status` shows."""
        standing = self.lag.standing(self._clock())
        return {
            "status": "bad" if not self.good else "degraded" if standing else "ok",
            "dependencies": {
                dependency.name: {"up": dependency.up, "finding": self._finding(dependency)}
                for dependency in self.dependencies
            },
            "warnings": list(self.redis.health.warnings),
            "standing_partitions": [partition._asdict() for partition in standing],
        }

    def _finding(self, dependency: Dependency) -> str:
        """Return what is to be said of a dependency; of a Redis that answers, how it is run where that is bad."""
        bad = self.redis.health.bad if dependency.name == REDIS and dependency.up else ()
        return "; ".join(bad) or dependency.finding
