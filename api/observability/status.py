"""The status of this process and of its dependencies."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from api.adapters.dependency import Dependency
from api.adapters.redis_store import REDIS
from api.observability.lag import Lag
from schemas.clock import Clock
from schemas.kafka.topic_check import TopicHealth
from schemas.redis.watch import RedisWatch

KAFKA: Final = "kafka"
STARTING_SECONDS: Final = 3.0
"""How long readiness waits for the first attempt on each dependency, at most."""


class Status:
    """The process's phase and its dependencies.

    Attributes:
        began: set once the process serves: after the first attempt on each dependency, failed or not.
        ready: whether it serves, from then on until it stops.
        dependencies: in the order of the page.
        lag: the partitions' progress.
        redis: the findings on Redis.

    Args:
        clock: the clock of `lag`.
        clocks: each returns a finding on this machine's clock, or None.
        topics: returns the findings on the topics.
    """

    def __init__(
        self,
        dependencies: Iterable[Dependency],
        lag: Lag,
        clock: Clock,
        redis: RedisWatch,
        clocks: Iterable[Callable[[], str | None]] = (),
        topics: Callable[[], TopicHealth] = lambda: TopicHealth({}, {}),
    ) -> None:
        self.dependencies = tuple(dependencies)
        self.lag = lag
        self.redis = redis
        self.began = asyncio.Event()
        self.ready = False
        self._clock = clock
        self._topics = topics
        self._clocks = (*clocks, self.redis.skew_finding)

    async def begin(self) -> None:
        """Become ready after the first attempt on each dependency."""
        try:
            async with asyncio.timeout(STARTING_SECONDS):
                for dependency in self.dependencies:
                    await dependency.tried.wait()
        except TimeoutError:
            # A hanging dependency must not fail the probe: reads may work without Kafka, for example.
            pass
        self.ready = True
        self.began.set()

    def end(self) -> None:
        """Become unready: the process stops."""
        self.ready = False

    @property
    def good(self) -> bool:
        """Whether every dependency answers, and none has a bad finding."""
        return all(dependency.up for dependency in self.dependencies) and not (self.redis.bad or self._topics().bad)

    def document(self) -> dict[str, Any]:
        """Return the document of `/status`."""
        stalled = self.lag.stalled(self._clock())
        skews = [finding for clock in self._clocks if (finding := clock()) is not None]
        weak = [*self._topics().weak.values(), *skews]
        return {
            "status": "bad" if not self.good else "degraded" if stalled or weak else "ok",
            "dependencies": {
                dependency.name: {"up": dependency.up, "finding": self._finding(dependency)}
                for dependency in self.dependencies
            },
            "warnings": [*weak, *self.redis.health.warnings],
            "standing_partitions": [partition._asdict() for partition in stalled],
        }

    def _finding(self, dependency: Dependency) -> str:
        """Return the finding on a dependency; for one that answers, any bad finding on how it is run."""
        bad: Iterable[str] = ()
        if dependency.up:
            bad = {REDIS: self.redis.bad, KAFKA: self._topics().bad.values()}.get(dependency.name, ())
        return "; ".join(bad) or dependency.finding
