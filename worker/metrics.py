"""What the worker counts, in a registry of its own. `schemas.metrics.worker` defines names and labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from schemas.kafka.source_record import Failure
from schemas.metrics import worker as definitions
from schemas.metrics.labels import BOUND
from schemas.redis.watch import RedisWatch
from worker.fold.dead_letter import count_of
from worker.fold.decoding import Decoded
from worker.fold.piece import Piece
from worker.ports import Output
from worker.runtime.refusals import LINES, Refusals


class Metrics:
    """Counts what lanes and ingress do. There is one object for a worker process.

    Args:
        lines: how many refusals with one code are logged within a minute.
    """

    def __init__(self, lines: float = LINES) -> None:
        self.registry = CollectorRegistry()
        self._events = definitions.EVENTS.register(self.registry)
        self._dead_letters = definitions.DEAD_LETTERS.register(self.registry)
        for fault in ("ours", "theirs"):
            # Starts at 0, so that an alert on the increase notices the first one too.
            self._dead_letters.labels(fault)
        self._forwarded = definitions.INGRESS_FORWARDED.register(self.registry)
        self._delayed = definitions.INGRESS_DELAYED.register(self.registry)
        self._replaced = definitions.INGRESS_REPLACED.register(self.registry)
        self._skipped = definitions.INGRESS_SKIPPED.register(self.registry)
        self.ingress_waiting = definitions.INGRESS_WAITING.register(self.registry)
        self.refusals = Refusals(self.registry, lines=lines)
        self._published = definitions.STATES_PUBLISHED.register(self.registry)
        self._batch_seconds = definitions.BATCH_SECONDS.register(self.registry)
        self._batch_records = definitions.BATCH_RECORDS.register(self.registry)
        self._timer_lag = definitions.TIMER_LAG.register(self.registry)
        self.rollbacks = definitions.ROLLBACKS.register(self.registry)
        self.fence_refusals = definitions.FENCE_REFUSALS.register(self.registry)
        self._redis_findings = definitions.REDIS_FINDINGS.register(self.registry)
        self.connections = definitions.CONNECTIONS.register(self.registry)
        self.connections_refused = definitions.CONNECTIONS_REFUSED.register(self.registry)
        for bound in BOUND.values:
            self.connections_refused.labels(bound)
        self.lanes = definitions.LANES.register(self.registry)

    def watch_redis(self, redis: RedisWatch) -> None:
        """Show how many findings there are on how Redis is run."""
        self._redis_findings.labels("bad").set_function(lambda: float(len(redis.bad)))
        self._redis_findings.labels("warning").set_function(lambda: float(len(redis.health.warnings)))

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
