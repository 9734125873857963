"""What the API counts, in a registry of its own. `schemas.metrics.api` defines names and labels."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from api.adapters.dependency import Dependency
from api.errors.catalog import KINDS
from api.observability.census import Census
from api.observability.lag import Lag
from schemas.clock import Clock
from schemas.domain.state import LABELS
from schemas.formats.report import Skipped
from schemas.http.connections import Connections
from schemas.metrics import api as definitions
from schemas.metrics.labels import BOUND
from schemas.redis.watch import RedisWatch

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def _value(dependency: Dependency) -> float:
    return float(dependency.up)


class Metrics:
    """The API's metrics; one object a process.

    Attributes:
        waiting: callers that wait for an outcome at this moment.
        streams: streams of events that are open at this moment.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = definitions.REQUESTS.register(self._registry)
        self._seconds = definitions.REQUEST_SECONDS.register(self._registry)
        self._problems = definitions.PROBLEMS.register(self._registry)
        for code in KINDS:
            # From 0 on, so that an alert on the increase sees the first one too.
            self._problems.labels(code)
        self._commands = definitions.COMMANDS.register(self._registry)
        self.waiting = definitions.WAITING_CALLERS.register(self._registry)
        self.streams = definitions.STREAMS.register(self._registry)
        self._streams_ended = definitions.STREAMS_ENDED.register(self._registry)
        self._skipped = definitions.REPORTS_SKIPPED.register(self._registry)
        self._up = definitions.DEPENDENCY_UP.register(self._registry)
        self._policy_seconds = definitions.POLICY_SECONDS.register(self._registry)
        self._redis_findings = definitions.REDIS_FINDINGS.register(self._registry)
        self._connections = definitions.CONNECTIONS.register(self._registry)
        self._connections_refused = definitions.CONNECTIONS_REFUSED.register(self._registry)
        for bound in BOUND.values:
            self._connections_refused.labels(bound)
        self._partitions = definitions.PARTITIONS.register(self._registry)
        self._stalled_partitions = definitions.STANDING_PARTITIONS.register(self._registry)
        self._waiting_records = definitions.WAITING_RECORDS.register(self._registry)
        self._tenants = definitions.TENANTS.register(self._registry)
        self._open_ended = definitions.OPEN_ENDED_TENANTS.register(self._registry)
        self._oldest = definitions.OPEN_ENDED_OLDEST.register(self._registry)

        # Counters are looked up once: routes, methods and statuses are few, and so are commands and their results.
        self._of_request = cache(self._look_up)
        self._of_command = cache(self._commands.labels)

    def _look_up(self, route: str, method: str, status: int) -> tuple[Callable[[float], None], Callable[[float], None]]:
        return self._requests.labels(route, method, str(status)).inc, self._seconds.labels(route, method).observe

    def watch(self, dependencies: Iterable[Dependency]) -> None:
        """Show whether these dependencies are up."""
        for dependency in dependencies:
            self._up.labels(dependency.name).set_function(partial(_value, dependency))

    def watch_lag(self, lag: Lag, partitions: int, clock: Clock) -> None:
        """Show how many partitions there are, how many stand still, and how many records wait in each."""
        self._partitions.set(partitions)
        self._stalled_partitions.set_function(lambda: float(len(lag.stalled(clock()))))
        for partition in range(partitions):
            self._waiting_records.labels(str(partition)).set_function(partial(lag.waiting, partition))

    def watch_census(self, census: Census) -> None:
        """Show how many tenants sleep how deep, and those that sleep without an end."""
        for label in LABELS:
            self._tenants.labels(label).set_function(partial(census.tenants, label))
        self._open_ended.set_function(lambda: census.open_ended)
        self._oldest.set_function(lambda: census.oldest_ms / 1_000)

    def watch_redis(self, redis: RedisWatch) -> None:
        """Show how many findings there are on how Redis is run."""
        self._redis_findings.labels("bad").set_function(lambda: float(len(redis.bad)))
        self._redis_findings.labels("warning").set_function(lambda: float(len(redis.health.warnings)))

    def watch_connections(self, connections: Connections) -> None:
        """Show how many connections are open."""
        self._connections.set_function(lambda: float(connections.total))

    def connection_refused(self, bound: str) -> None:
        """Count a connection above a bound."""
        self._connections_refused.labels(bound).inc()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        count, observe = self._of_request(route, method, status)
        count(1)
        observe(seconds)

    def problem(self, code: str) -> None:
        """Count a request that was answered with a problem."""
        self._problems.labels(code).inc()

    def policy_answered(self, seconds: float) -> None:
        """Measure a question to an OPA server, answered or not."""
        self._policy_seconds.observe(seconds)

    def command(self, type_: str, result: str) -> None:
        """Count a command."""
        self._of_command(type_, result).inc()

    def stream_ended(self, reason: str) -> None:
        """Count a stream that ended."""
        self._streams_ended.labels(reason).inc()

    def skipped(self, format_: str, skipped: Mapping[Skipped, int]) -> None:
        """Count the parts of an accepted report that make no event, by reason."""
        for reason, count in skipped.items():
            self._skipped.labels(format_, reason).inc(count)

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self._registry)
