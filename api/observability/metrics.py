"""What the API counts, in a registry of its own."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from api.adapters.dependency import Dependency
from api.errors.catalog import KINDS
from api.observability.lag import Lag
from schemas.clock import Clock
from schemas.formats.report import Skipped
from schemas.http.connections import Connections

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


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
        self._requests = Counter(
            "sleep_api_requests",
            "HTTP requests answered, by route, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "sleep_api_request_seconds",
            "Time from a request to the end of its answer, waiting included.",
            ("route", "method"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._problems = Counter(
            "sleep_api_problems",
            "Requests answered with a problem, by its code.",
            ("code",),
            registry=self._registry,
        )
        for code in KINDS:
            # From 0 on, so that an alert on the increase sees the first one too.
            self._problems.labels(code)
        self._commands = Counter(
            "sleep_api_commands",
            "Commands by type and result: done, a refusal's code, accepted, unavailable or outcome_unknown.",
            ("type", "result"),
            registry=self._registry,
        )
        self.waiting = Gauge(
            "sleep_api_waiting_callers",
            "Callers that wait for an outcome at this moment.",
            registry=self._registry,
        )
        self.streams = Gauge(
            "sleep_api_streams",
            "Streams of events that are open at this moment.",
            registry=self._registry,
        )
        self._streams_ended = Counter(
            "sleep_api_streams_ended",
            "Streams that ended, by reason: left, slow (the client did not read), expired (its token), lost, stopping.",
            ("reason",),
            registry=self._registry,
        )
        self._skipped = Counter(
            "sleep_api_reports_skipped",
            "Parts of accepted reports that make no event, by format and reason: no_transition, no_tenant (an alert "
            "without its label), truncated (an alert that Alertmanager left out).",
            ("format", "reason"),
            registry=self._registry,
        )
        self._up = Gauge(
            "sleep_api_dependency_up",
            "Whether a dependency answered when last asked: 1 or 0.",
            ("dependency",),
            registry=self._registry,
        )
        self._connections = Gauge(
            "sleep_api_connections",
            "HTTP connections that are open at this moment.",
            registry=self._registry,
        )
        self._connections_refused = Counter(
            "sleep_api_connections_refused",
            "HTTP connections above a bound, by the bound: client (one address) or process.",
            ("bound",),
            registry=self._registry,
        )
        self._stalled_partitions = Gauge(
            "sleep_api_standing_partitions",
            "Partitions in which records wait and nothing is applied; above 0 the status is degraded.",
            registry=self._registry,
        )

        # A route's counters are looked up once: routes, methods and statuses are few.
        self._of_request = cache(self._look_up)

    def _look_up(self, route: str, method: str, status: int) -> tuple[Callable[[float], None], Callable[[float], None]]:
        return self._requests.labels(route, method, str(status)).inc, self._seconds.labels(route, method).observe

    def watch(self, dependencies: Iterable[Dependency]) -> None:
        """Show whether these dependencies are up."""
        for dependency in dependencies:
            self._up.labels(dependency.name).set_function(partial(_value, dependency))

    def watch_lag(self, lag: Lag, clock: Clock) -> None:
        """Show how many partitions stand still."""
        self._stalled_partitions.set_function(lambda: float(len(lag.stalled(clock()))))

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

    def command(self, type_: str, result: str) -> None:
        """Count a command."""
        self._commands.labels(type_, result).inc()

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
