"""The consumer of ingress topics, in a consumer group of its own, so that the lanes go on if it fails.

It starts at the offset that its group has committed. Earlier versions read ingress in the group of the lanes. So it
starts at the offset of that group if its own group has committed none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import count
from typing import Any, ClassVar, Final, TypeVar

import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from faust.transport.base import Transport
from faust.types import TP
from mode import Service

from schemas.settings import Settings
from worker.ingress.ingress import Ingress
from worker.partition.fetch_buffer import FetchedBatch
from worker.runtime.faust.transport import CLOSED_POLL_SECONDS, BatchConsumer

# aiokafka asks again at once and is refused again. Only the absence of refusals shows that access was granted.
_REFUSAL_SECONDS: Final = 10.0
# Metadata are read every 5 seconds (`worker.runtime.faust.app`).
_CHECK_SECONDS: Final = 2.0

# Each assignment has its own number: a batch may arrive after the next assignment has begun.
_assignments: Final = count(1)

_Answer = TypeVar("_Answer")

log = structlog.get_logger("worker.runtime.faust.ingress_transport")


class IngressConsumer(BatchConsumer):
    """The consumer of the ingress topics. `ingress` is set by the transport's factory."""

    ingress: ClassVar[Ingress]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's
        self._assignment_number = next(_assignments)
        # Partitions that were sought to their committed offset, and whose fetches all arrived since.
        self._followed: set[TP] = set()
        # The start offset of partitions of which this group has committed no offset.
        self._taken_over: dict[TP, int] = {}
        self._refused: dict[str, float] = {}
        super().__init__(*args, **options)

    async def fetch(self, active: set[TP], seconds: float) -> dict[TP, FetchedBatch]:
        """Return at most one batch for each partition whose offset is known and whose forwarder wants more."""
        assignment = self._assignment_number
        seeks = await self._start_offsets(active)
        followed = active & self._followed
        wanted = seeks.keys() | {tp for tp in followed if self.ingress.open(tp)}
        if not wanted:
            # aiokafka reads an empty set as every partition.
            await self.sleep(CLOSED_POLL_SECONDS)
            return {}
        seconds = seconds if followed <= wanted else CLOSED_POLL_SECONDS
        try:
            fetched = await self.kafka.seek_and_fetch(seeks, wanted, seconds)
        except TopicAuthorizationFailedError as error:
            self._note_refused([str(error.args[0] if error.args else "*")])
            fetched = {}
        # After another assignment its partitions are fetched again, from their committed offsets.
        if assignment != self._assignment_number:
            return {}
        self._followed |= wanted
        return {tp: FetchedBatch(assignment, records) for tp, records in fetched.items() if records}

    async def _start_offsets(self, active_partitions: set[TP]) -> dict[TP, int]:
        """Return the start offset of each partition that is not followed yet.

        One whose offset is unknown waits a round.
        """
        unknown = [tp for tp in active_partitions if tp not in self._followed]
        committed = await _answers(self.kafka.committed, unknown)
        offsets = {tp: offset for tp, offset in committed.items() if offset is not None}
        offsets |= await self._offsets_without_commit([tp for tp, offset in committed.items() if offset is None])
        # A partition that was revoked meanwhile cannot be sought.
        assigned = self.kafka.assignment() if unknown else set()
        return {tp: offset for tp, offset in offsets.items() if tp in assigned}

    async def _offsets_without_commit(self, partitions: list[TP]) -> dict[TP, int]:
        """Return the start offset of partitions without an offset of this group, as far as Kafka answers."""
        if not partitions:
            return {}
        try:
            former = await former_offsets(self.settings, partitions)
        except KafkaError:
            return {}
        for tp, offset in former.items():
            # It is committed for the group of ingress too, since Kafka forgets the offsets of the former group.
            self._taken_over[tp] = offset
            log.info("ingress_taken_over", topic=tp.topic, partition=tp.partition, offset=offset)
        ranges = await _answers(self.kafka.offset_range, [tp for tp in partitions if tp not in former])
        return former | {tp: start for tp, (start, _) in ranges.items()}

    @Service.timer(_CHECK_SECONDS)
    async def _check_periodically(self) -> None:
        self.check_refusals()

    def check_refusals(self) -> None:
        """Report topics that Kafka does not even describe.

        They have no partitions here, so no fetch of them is refused.
        """
        self._note_refused(self.kafka.refused_topics())

    def _note_refused(self, topics: Iterable[str]) -> None:
        """Report topics that may not be read, and clear those that have not been refused for a while."""
        now = self.loop.time()
        for topic in topics:
            if topic not in self._refused:
                log.warning("ingress_refused", topic=topic)
            self._refused[topic] = now
            self.ingress.problems[topic] = (
                f"Kafka does not let this worker read {topic}; give its user the ACL Read on it"
            )
        for topic in [topic for topic, at in self._refused.items() if now - at > _REFUSAL_SECONDS]:
            del self._refused[topic]
            self.ingress.problems.pop(topic, None)

    async def end_work(self, revoked: set[TP]) -> None:  # noqa: ARG002 - a rebalance revokes all of them
        """End the forwarders."""
        await self.ingress.end()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start again at the committed offsets: Faust drops its queue, and aiokafka may have read on."""
        self._assignment_number = next(_assignments)
        self._followed.clear()
        self._taken_over.clear()
        await self.ingress.assign(assigned, self._assignment_number)
        await super().on_partitions_assigned(assigned, generation_id)

    def _filter_tps_with_pending_acks(self, topics: object = None) -> Iterator[TP]:  # noqa: ARG002 - all are ours
        yield from list(self._followed)

    def _new_offset(self, tp: TP) -> int | None:
        position = self.ingress.position(tp)
        return self._taken_over.get(tp) if position is None else position


async def _answers(ask: Callable[[TP], Awaitable[_Answer]], partitions: list[TP]) -> dict[TP, _Answer]:
    """Ask about each partition, and return the answers. A partition without an answer is left out."""
    results = await asyncio.gather(*map(ask, partitions), return_exceptions=True)
    answers: dict[TP, _Answer] = {}
    for tp, answer in zip(partitions, results, strict=True):
        if not isinstance(answer, BaseException):
            answers[tp] = answer
        elif not isinstance(answer, KafkaError):
            raise answer
    return answers


async def former_offsets(settings: Settings, partitions: Iterable[TP]) -> dict[TP, int]:
    """Return the offsets that the group of the lanes has committed, for those of the partitions that have one.

    Raises:
        KafkaError: if Kafka does not answer.
    """
    # By name: the embedded broker has no answer to a request for all offsets of a group.
    wanted = [TopicPartition(*tp) for tp in partitions]
    admin = AIOKafkaAdminClient(**settings.kafka_client(), client_id="sleep-worker-ingress")
    try:
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(settings.consumer_group, partitions=wanted)
    finally:
        await admin.close()
    return {TP(*at): committed.offset for at, committed in offsets.items() if committed.offset >= 0}


def transport_for(settings: Settings, ingress: Ingress) -> type[Transport]:
    """Return the transport class whose consumer reads the ingress topics; Faust creates the instances."""
    consumer = type("ConsumerOfIngress", (IngressConsumer,), {"settings": settings, "ingress": ingress})
    return type("IngressTransport", (Transport,), {"Consumer": consumer})
