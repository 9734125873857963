"""The worker's metrics, on a registry of their own. Names and labels are listed here and nowhere else."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from worker.batch import Batch, Decoded
from worker.deadletter import Failure

_BATCH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BATCH_RECORDS: Final = (1, 10, 100, 500, 1_000, 2_000)
_LAG_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts what the lanes do. One object a worker process."""

    def __init__(self) -> None:
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
            # From 0 on, so that an alert on the increase sees the first one too.
            self._dead_letters.labels(fault)
        self._forwarded = Counter(
            "sleep_worker_ingress_forwarded", "Breaker events passed on, by ingress topic.", ["topic"],
            registry=self.registry,
        )  # fmt: skip
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
        self.lanes = Gauge(
            "sleep_worker_lanes", "Partitions owned, by whether they run.", ["state"], registry=self.registry
        )

    @contextmanager
    def batch(self, records: int) -> Iterator[None]:
        """Measure the batch that is applied inside the block."""
        self._batch_records.observe(records)
        with self._batch_seconds.time():
            yield

    def folded(self, batch: Batch, decoded: Iterable[Decoded]) -> None:
        """Count what a committed batch held."""
        by_type: dict[str, int] = {}
        for item in decoded:
            if not isinstance(item.event, Failure):
                by_type[item.event.type] = by_type.get(item.event.type, 0) + 1
        for type_, count in by_type.items():
            self._events.labels(type_).inc(count)
        ours = sum(batch.failures)
        self._set_aside(ours, len(batch.dead_letters) - ours)
        self._published.inc(len(batch.states))
        for lag_ms in batch.timer_lags:
            self._timer_lag.observe(max(lag_ms, 0) / 1000)

    def forwarded(self, topic: str, passed: int, *, theirs: int, ours: int) -> None:
        """Count what a forwarded batch of an ingress topic held: events passed on, and what was set aside."""
        self._forwarded.labels(topic).inc(passed)
        self._set_aside(ours, theirs)

    def _set_aside(self, ours: int, theirs: int) -> None:
        self._dead_letters.labels("ours").inc(ours)
        self._dead_letters.labels("theirs").inc(theirs)
