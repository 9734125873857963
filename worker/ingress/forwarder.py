"""Forwards one partition of an ingress topic: events to the partitions of their tenants, other records to dead letters.

Events above a tenant's limit wait. A dead letter waits too, because more of its kind may follow. The position that is
committed for the group is the offset of the first record that waits. It moves on when that record, or its replacement,
is published. So a crash loses no record: the next worker reads from the position. It publishes some events a second
time, and the fold takes these as stale, or as renewals.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import structlog

from schemas.backoff import Backoff
from schemas.errors import describe
from schemas.formats.settings import LEVELS, TopicFormat
from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import Failure, SourceRecord, Unreadable, size_of
from schemas.tasks import end_tasks
from worker.fold.dead_letter import dead_letter
from worker.ingress.dead_letter_floods import DeadLetters
from worker.ingress.normalise import CLOUDEVENTS, Events, normalise
from worker.ingress.repeats import Repeats
from worker.ingress.tenant_limit import ROOM, Normalised, TenantLimit
from worker.metrics import Metrics
from worker.ports import Clock, Output, OutputError, Outputs
from worker.runtime.unreadable_batches import UnreadableBatches

# As in a lane: one batch is collected while one is processed.
_QUEUED_RECORDS: Final = 4_000
_QUEUED_BYTES: Final = 2 << 20
_MOST_DUE: Final = 2_000
_CANCEL_SECONDS: Final = 1.0
# About 3 ms of work. Then the lanes may run.
_AT_A_TIME: Final = 100

log = structlog.get_logger("worker.ingress.ingress")


Normalise = Callable[[SourceRecord, TopicFormat], Events | Failure]
"""Returns the events of a record in a format, or why the record is a dead letter."""


class ForwarderContext(NamedTuple):
    """What the forwarders of one worker process share.

    Attributes:
        outputs: the producer.
        partitions: the number of partitions of the events topic.
        metrics: counts forwarded events and dead letters.
        unreadable: keeps the batches that could not be read.
        clock: a monotonic clock.
        limit: how many events a second pass for each tenant.
        formats: the formats of topics; CloudEvents where none is named.
        problems: why a topic is not forwarded, by topic.
        decoding: the lock of the forwarder that decodes, so that floods on many partitions take no more time than one.
        normalise: returns the events of a record.
    """

    outputs: Outputs
    partitions: int
    metrics: Metrics
    unreadable: UnreadableBatches
    clock: Clock
    limit: int
    formats: Mapping[str, TopicFormat]
    problems: dict[str, str]
    decoding: asyncio.Lock
    normalise: Normalise = normalise


@dataclass(slots=True)
class _Step:
    """What one step publishes, and the counts to report once it is published."""

    passing: list[Normalised] = field(default_factory=list)
    dead_letters: list[Output] = field(default_factory=list)
    ours: int = 0
    waiting: int = 0
    replaced: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


class Forwarder:
    """The owner of one partition of an ingress topic, for as long as it is assigned.

    Attributes:
        position: the offset from which to read after a crash, None before the first batch is forwarded.

    Args:
        topic, partition: the partition.
        context: what the forwarders share.
    """

    def __init__(self, topic: str, partition: int, context: ForwarderContext) -> None:
        self.position: int | None = None
        self._topic = topic
        self._partition = partition
        self._context = context
        self._limit = TenantLimit(context.limit)
        self._format = context.formats.get(topic, CLOUDEVENTS)
        self._repeats = Repeats() if self._format.format in LEVELS else None
        self._dead_letters = DeadLetters()
        self._queue: deque[Sequence[SourceRecord]] = deque()
        self._queued_records = self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()
        self._read_to = 0
        self._counted = 0
        self._problem: str | None = None

    @property
    def open(self) -> bool:
        """Whether the forwarder wants more records."""
        has_room = self._queued_records < _QUEUED_RECORDS and self._queued_bytes < _QUEUED_BYTES
        return has_room and not self._ended.is_set()

    def offer(self, records: Sequence[SourceRecord]) -> None:
        """Queue a fetched batch, which is not empty; never waits."""
        self._queue.append(records)
        self._queued_records += len(records)
        self._queued_bytes += sum(map(size_of, records))
        self._arrived.set()

    def end(self) -> None:
        """End after the present batch. Records that wait are left to the next owner."""
        self._ended.set()
        self._arrived.set()

    async def run(self) -> None:
        """Forward batches until `end`. While Kafka does not accept a record, it is retried."""
        try:
            while await self._wait():
                records = self._queue.popleft() if self._queue else ()
                self._queued_records -= len(records)
                self._queued_bytes -= sum(map(size_of, records))
                if not await self._forward(records):
                    return
                # If no record is published, no other call lets the other tasks run.
                await asyncio.sleep(0)
        except Exception as error:
            log.exception("ingress_stopped", topic=self._topic, partition=self._partition)
            self._report(
                f"partition {self._partition} is not forwarded: {error!r}; see the log, then restart the worker"
            )
            raise
        finally:
            self._count_waiting(0)

    async def _wait(self) -> bool:
        """Wait for a batch, or until a waiting record is due; tell whether to go on."""
        while not self._ended.is_set() and not self._queue:
            dues = [at for at in (self._limit.next_due(), self._dead_letters.next_due()) if at is not None]
            remaining = min(dues) - self._context.clock.now() if dues else None
            if remaining is not None and remaining <= 0:
                return True
            self._arrived.clear()
            await self._until(self._arrived, None if remaining is None else remaining / 1_000)
        return not self._ended.is_set()

    async def _until(self, event: asyncio.Event, seconds: float | None) -> None:
        """Wait for an event, at most so many seconds; None for no limit."""
        waits: list[asyncio.Task[Any]] = [asyncio.ensure_future(event.wait())]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self._context.clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(waits, seconds=_CANCEL_SECONDS)

    async def _forward(self, records: Sequence[SourceRecord]) -> bool:
        """Publish the events that may pass and those that are due, and move on; False if the forwarder ended first."""
        step = _Step()
        normalised: list[Events | Failure] = []

        async def decode() -> None:
            normalised.clear()
            async with self._context.decoding:
                for record in records:
                    normalised.append(self._context.normalise(record, self._format))
                    if not len(normalised) % _AT_A_TIME:
                        await asyncio.sleep(0)

        async def publish() -> None:
            await self._publish(step)

        if not await self._until_done(decode):
            return False
        now = self._context.clock.now()
        # Events that have waited go before new ones.
        step.passing += self._limit.due(now, _MOST_DUE)
        self._admit(zip(records, normalised, strict=True), now, step)
        step.dead_letters += self._dead_letters.due(now)
        if not await self._until_done(publish):
            return False
        if records:
            self._read_to = records[-1].offset + 1
        waiting = (self._limit.first, self._dead_letters.first)
        self.position = min(at for at in (self._read_to, *waiting) if at is not None)
        metrics = self._context.metrics
        metrics.forwarded(self._topic, len(step.passing), step.dead_letters, step.ours)
        metrics.limited(self._topic, step.waiting, step.replaced)
        metrics.skipped(self._topic, step.skipped)
        if step.skipped["truncated"]:
            log.warning(
                "alerts_truncated", topic=self._topic, partition=self._partition, alerts=step.skipped["truncated"]
            )
        self._count_waiting(len(self._limit))
        return True

    def _admit(self, records: Iterable[tuple[SourceRecord, Events | Failure]], now: int, step: _Step) -> None:
        """Sort records into events that pass now, events that wait, and dead letters."""
        unreadable: list[Unreadable] = []
        for record, result in records:
            if isinstance(record, Unreadable) and record.batch:
                unreadable.append(record)
            failure = result if isinstance(result, Failure) else self._admit_events(record, result, now, step)
            if failure is not None and failure.ours:
                step.dead_letters.append(dead_letter(record, failure))
                step.ours += 1
            elif failure is not None:
                self._dead_letters.add(record, failure, now)
        self._context.unreadable.note(unreadable)

    def _admit_events(self, record: SourceRecord, result: Events, now: int, step: _Step) -> Failure | None:
        """Sort the events of a record into those that pass now, and those that wait; return why there is no room."""
        events = result.events
        if self._repeats is not None:
            events = self._repeats.without(events, record.timestamp, now)
        admitted = self._limit.admit(events, record.offset, record.timestamp, now)
        if admitted is None:
            if self._repeats is not None:
                self._repeats.forget(events)
            return self._no_room()
        step.skipped.update(result.skipped)
        step.skipped["repeat"] += len(result.events) - len(events)
        step.passing += admitted.passing
        step.waiting += admitted.waiting
        step.replaced += admitted.replaced
        return None

    def _no_room(self) -> Failure:
        return Failure(
            "tenant_limit",
            f"its tenant sends more than {self._context.limit} events a second to this partition, and {ROOM} of the "
            "tenant or 8 MiB of all tenants wait already; slow the emitter down, then redrive the record",
        )

    async def _publish(self, step: _Step) -> None:
        by_partition: dict[int, list[Output]] = {}
        for event in step.passing:
            by_partition.setdefault(partition_of(event.tenant, self._context.partitions), []).append(event.output)
        outputs = self._context.outputs
        sends = (outputs.send(outputs.topics.events, *of_partition) for of_partition in by_partition.items())
        # Wait for every send: a late one would overtake the records of the next try.
        for result in await asyncio.gather(*sends, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        if step.dead_letters:
            await outputs.dead_letters(self._partition, step.dead_letters)

    async def _until_done(self, attempt: Callable[[], Awaitable[None]]) -> bool:
        """Try until it succeeds; False if the forwarder ended first.

        An error of our own code is retried too: without a forwarder the partition would wait unnoticed.
        """
        backoff = Backoff(random.SystemRandom())
        try:
            while not self._ended.is_set():
                try:
                    await attempt()
                except OutputError as error:
                    if not backoff.failing:
                        log.warning(
                            "ingress_waiting", topic=self._topic, partition=self._partition, reason=describe(error)
                        )
                    self._report(describe(error))
                except Exception as error:
                    if not backoff.failing:
                        log.exception("ingress_failed", topic=self._topic, partition=self._partition)
                    self._report(f"a batch could not be forwarded: {error!r}; see the log")
                else:
                    return True
                await self._until(self._ended, backoff.next())
            return False
        finally:
            self._report(None)

    def _report(self, problem: str | None) -> None:
        """Set or clear why the topic is not forwarded. The problem of another partition stays."""
        problems = self._context.problems
        if problem is not None:
            problems[self._topic] = problem
        elif self._problem is not None and problems.get(self._topic) == self._problem:
            del problems[self._topic]
        self._problem = problem

    def _count_waiting(self, now: int) -> None:
        self._context.metrics.ingress_waiting.labels(self._topic).inc(now - self._counted)
        self._counted = now
