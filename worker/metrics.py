"""The worker's metrics, on their own registry. Their names and labels are defined here only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.kafka.source_record import Failure
from worker.fold.dead_letter import count_of
from worker.fold.decoding import Decoded
from worker.fold.piece import Piece
from worker.ports import Output
from worker.runtime.refusals import LINES, Refusals

_BATCH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BATCH_RECORDS: Final = (1, 10, 100, 500, 1_000, 2_000)
_LAG_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts what lanes and ingress do. There is one object for a worker process.

    Args:
        lines: how many refusals with one code are logged within a minute.
    """

    def __init__(self, lines: float = LINES) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "sleep_worker_events", "Records applied, by type of event.", ["type"], registry=self.registry
        )
        self._dead_letters = Counter(
            "sleep_worker_dead_letters",
            "Records set aside, by whose fault it is.",
            ["fault"],
            registry=self.registry,
        )
        for fault in ("ours", "theirs"):
            # Starts at 0, so that an alert on the increase notices the first one too.
            self._dead_letters.labels(fault)
        self._forwarded = Counter(
            "sleep_worker_ingress_forwarded", "Breaker events passed on, by ingress topic.", ["topic"],
            registry=self.registry,
        )  # fmt: skip
        self._delayed = Counter(
            "sleep_worker_ingress_delayed", "Breaker events that waited for their tenant's limit, by ingress topic.",
            ["topic"], registry=self.registry,
        )  # fmt: skip
        self._replaced = Counter(
            "sleep_worker_ingress_replaced", "Waiting breaker events that a later one replaced, by ingress topic.",
            ["topic"], registry=self.registry,
        )  # fmt: skip
        self._skipped = Counter(
            "sleep_worker_ingress_skipped",
            "Parts of messages that make no event, by ingress topic and reason: no_transition, repeat, no_tenant (an "
            "alert without its label), truncated (an alert that Alertmanager left out).",
            ["topic", "reason"], registry=self.registry,
        )  # fmt: skip
        self.ingress_waiting = Gauge(
            "sleep_worker_ingress_waiting", "Breaker events that wait for their tenant's limit, by ingress topic.",
            ["topic"], registry=self.registry,
        )  # fmt: skip
        self.refusals = Refusals(self.registry, lines=lines)
        self._published = Counter(
            "sleep_worker_states_published", "Tenants' records published.", registry=self.registry
        )
        self._batch_seconds = Histogram(
            "sleep_worker_batch_seconds", "Time from taking a batch to answering its callers.",
            registry=self.registry, buckets=_BATCH_SECONDS,
        )  # fmt: skip
        self._batch_records = Histogram(
            "sleep_worker_batch_records", "Records a batch.", registry=self.registry, buckets=_BATCH_RECORDS
        )
        self._timer_lag = Histogram(
            "sleep_worker_timer_lag_seconds", "From a timer's due time to its record in the log.",
            registry=self.registry, buckets=_LAG_SECONDS,
        )  # fmt: skip
        self.rollbacks = Counter(
            "sleep_worker_rollbacks", "Lanes that began behind their last position, because Redis went back.",
            registry=self.registry,
        )  # fmt: skip
        self.connections = Gauge(
            "sleep_worker_connections", "HTTP connections to the status page.", registry=self.registry
        )
        self.connections_refused = Counter(
            "sleep_worker_connections_refused",
            "HTTP connections above a bound, by the bound: client (one address) or process.",
            ["bound"], registry=self.registry,
        )  # fmt: skip
        self.lanes = Gauge(
            "sleep_worker_lanes", "Partitions owned, by whether they run.", ["state"], registry=self.registry
        )

    @contextmanager
    def batch(self, records: int) -> Iterator[None]:
        """Measure the batch that is processed inside the block."""
        self._batch_records.observe(records)
        with self._batch_seconds.time():
            yield

    def folded(self, piece: Piece, decoded: Iterable[Decoded]) -> None:
        """Count the events of a piece that is committed."""
        by_type: dict[str, int] = {}
        for item in decoded:
            if not isinstance(item.event, Failure):
                by_type[item.event.type] = by_type.get(item.event.type, 0) + 1
        for type_, count in by_type.items():
            self._events.labels(type_).inc(count)
        own_failures = sum(piece.failures)
        self._set_aside(piece.dead_letters, own_failures)
        self.refusals.refused(piece.refusals)
        self._published.inc(len(piece.states))
        for lag_ms in piece.timer_lags:
            self._timer_lag.observe(max(lag_ms, 0) / 1000)

    def forwarded(self, topic: str, passed: int, dead_letters: Sequence[Output], ours: int) -> None:
        """Count the events and the dead letters of a forwarded batch of an ingress topic.

        Args:
            topic: the ingress topic.
            passed: how many events were forwarded.
            dead_letters: the dead letters.
            ours: for how many records of these our own code is to blame.
        """
        self._forwarded.labels(topic).inc(passed)
        self._set_aside(dead_letters, ours)

    def limited(self, topic: str, delayed: int, replaced: int) -> None:
        """Count events of an ingress topic above their tenant's limit: those that wait, and those replaced."""
        self._delayed.labels(topic).inc(delayed)
        self._replaced.labels(topic).inc(replaced)

    def skipped(self, topic: str, skipped: Mapping[str, int]) -> None:
        """Count parts of messages of an ingress topic that make no event, by reason."""
        for reason, count in skipped.items():
            if count:
                self._skipped.labels(topic, reason).inc(count)

    def _set_aside(self, dead_letters: Sequence[Output], ours: int) -> None:
        self._dead_letters.labels("ours").inc(ours)
        self._dead_letters.labels("theirs").inc(sum(map(count_of, dead_letters)) - ours)
        self.refusals.set_aside(dead_letters)
