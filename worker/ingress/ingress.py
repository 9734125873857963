"""Ingress: breaker events from emitters that we do not trust, normalised onto the events topic.

These emitters may write to ingress topics only, with any partitioner. Each assigned partition has a forwarder, so that
no partition waits for another.
"""

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import structlog

from schemas.formats.settings import TopicFormat
from schemas.settings import INGRESS_TENANT_LIMIT
from schemas.tasks import end_tasks
from worker.clock import SteadyClock
from worker.ingress.forwarder import Forwarder, ForwarderContext, Normalise
from worker.ingress.normalise import normalise
from worker.metrics import Metrics
from worker.partition.fetch_buffer import FetchedBatch
from worker.ports import Clock, Outputs
from worker.runtime.unreadable_batches import UnreadableBatches

# A forwarder has at most one produce request under way, which takes 10 s if there is no leader.
_END_SECONDS: Final = 11.0
_CANCEL_SECONDS: Final = 1.0

log = structlog.get_logger("worker.ingress.ingress")

SourcePartition = tuple[str, int]
"""A topic and the number of a partition."""


class Ingress:
    """Owns a forwarder and its task for each assigned partition of an ingress topic.

    Attributes:
        problems: why a topic is not read or not forwarded, by topic.

    Args:
        outputs: the producer.
        partitions: the number of partitions of the events topic.
        metrics: counts forwarded events and dead letters.
        unreadable: keeps the batches that could not be read.
        limit: how many events a second pass for each tenant, from one partition.
        formats: the formats of topics; CloudEvents where none is named.
        clock: a monotonic clock, by default that of the machine.
        normalise: returns the events of a record.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        outputs: Outputs,
        partitions: int,
        metrics: Metrics,
        unreadable: UnreadableBatches,
        limit: int = INGRESS_TENANT_LIMIT,
        formats: Mapping[str, TopicFormat] = MappingProxyType({}),
        clock: Clock | None = None,
        *,
        normalise: Normalise = normalise,
    ) -> None:
        self.problems: dict[str, str] = {}
        self._context = ForwarderContext(
            outputs,
            partitions,
            metrics,
            unreadable,
            clock or SteadyClock(),
            limit,
            formats,
            self.problems,
            asyncio.Lock(),
            normalise,
        )
        self._assignment = 0
        self._forwarders: dict[SourcePartition, Forwarder] = {}
        self._tasks: dict[SourcePartition, asyncio.Task[None]] = {}

    def open(self, source: SourcePartition) -> bool:
        """Tell whether the forwarder of a partition wants more records."""
        forwarder = self._forwarders.get(source)
        return forwarder is not None and forwarder.open

    async def assign(self, partitions: Iterable[SourcePartition], assignment: int) -> None:
        """End all forwarders and start one for each of these partitions.

        Args:
            partitions: all partitions that are assigned.
            assignment: the number of the assignment, which its fetched batches carry.
        """
        await self.end()
        self._assignment = assignment
        self._forwarders = {}
        for source in partitions:
            topic, partition = source
            forwarder = self._forwarders[source] = Forwarder(topic, partition, self._context)
            self._tasks[source] = asyncio.create_task(forwarder.run(), name=f"ingress-{topic}-{partition}")

    def position(self, source: SourcePartition) -> int | None:
        """Return the offset from which to read a partition after a crash, None before its first batch is forwarded."""
        forwarder = self._forwarders.get(source)
        return None if forwarder is None else forwarder.position

    def offer(self, source: SourcePartition, fetched: FetchedBatch) -> None:
        """Pass a fetched batch to its forwarder. A batch of another assignment is dropped, and read again."""
        forwarder = self._forwarders.get(source)
        if forwarder is not None and fetched.generation == self._assignment:
            forwarder.offer(fetched.records)

    async def end(self, seconds: float = _END_SECONDS) -> None:
        """End every forwarder. A send that is under way may finish; records that wait are left to the next owner.

        Args:
            seconds: how long the send may take.
        """
        # Forwarders stay until the next assignment: their positions are committed after they have ended.
        for forwarder in self._forwarders.values():
            forwarder.end()
        tasks, self._tasks = self._tasks, {}
        if not tasks:
            return
        done, late = await asyncio.wait(tasks.values(), timeout=seconds)
        for name in await end_tasks({*done, *late}, seconds=_CANCEL_SECONDS):
            log.error("forwarder_not_ended", forwarder=name, seconds=_CANCEL_SECONDS)
