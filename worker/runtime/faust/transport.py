"""Faust's consumer over aiokafka's on the same loop, which hands over a fetched batch of a partition as one message.

Faust's own driver runs aiokafka in a thread, and asks it through a queue. Faust tracks, acknowledges and commits
message by message; a lane does so by batch. So four parts are replaced:

- where aiokafka runs: on the loop of the lanes, and each call of it is an ordinary await;
- what is fetched: only partitions whose lane wants more, after the seek that the lane asked for;
- what a message is: a batch;
- which offset is committed for the group: the lane's position, so that the lag of the group is right.

Ingress has a consumer of its own, in `worker.runtime.faust.ingress_transport`. Both are `BatchConsumer`s.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, cast

import structlog
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import ConsumerStoppedError
from faust.transport.base import Transport
from faust.transport.consumer import Consumer
from faust.types import TP, ConsumerMessage, Message
from mode.types import ServiceT

from schemas.settings import Settings
from worker.partition.fetch_buffer import FetchedBatch
from worker.partition.lane import Lane
from worker.partition.manager import LaneManager
from worker.runtime.faust.group_consumer import GroupConsumer

log = structlog.get_logger("worker.runtime.faust.transport")
_POLL_SECONDS: Final = 1.0
# While a partition wants no records, it is asked again after this time.
CLOSED_POLL_SECONDS: Final = 0.02
# The rest of the time that a stop has is for leaving the group.
_LAST_COMMIT_SECONDS: Final = 4.0


async def _unused(*_: object, **__: object) -> Any:  # noqa: ANN401 - never returns
    """Stand in for what Faust requires of a consumer, and asks only for tables, its own topics, or its own loop."""
    msg = "Faust asks this for tables, topics of its own or its own loop, and this app has none of them"
    raise NotImplementedError(msg)


class BatchConsumer(Consumer):
    """Faust's consumer, with batches for messages. `settings` is set by the transport's factory."""

    settings: ClassVar[Settings]
    create_topic: Any = _unused
    earliest_offsets: Any = _unused
    highwater: Any = _unused
    highwaters: Any = _unused
    key_partition: Any = _unused
    position: Any = _unused
    seek_wait: Any = _unused
    topic_partitions: Any = _unused
    verify_recovery_event_path: Any = _unused
    _commit: Any = _unused
    _getmany: Any = _unused
    _new_topicpartition: Any = _unused
    _seek: Any = _unused

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's
        super().__init__(*args, **options)
        self.kafka = GroupConsumer(self.settings, self.app.conf.id)
        # From an assignment to the end of the work on it. While the group joins, aiokafka still names the former one,
        # but refuses to commit it and then joins as a new member: the others wait for the old one, and all rebalance
        # again and again.
        self._may_commit = False

    async def on_start(self) -> None:
        """Connect."""
        await self.kafka.start()

    async def on_stop(self) -> None:
        """Commit, and leave the group."""
        await super().on_stop()
        await self.kafka.stop()

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics."""
        self.kafka.subscribe(topics, _Rebalances(self))

    def assignment(self) -> set[TP]:
        """Return the partitions that are assigned."""
        return self.kafka.assignment()

    @abstractmethod
    async def fetch(self, active: set[TP], seconds: float) -> dict[TP, FetchedBatch]:
        """Return at most one batch for each active partition that wants more, within about `seconds`."""

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Pass batch after batch to the stream, until this consumer or Faust's fetcher is stopped.

        Faust's own loop makes six tasks for each message, and keeps an account of offsets that batches do not need.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                generation = self.app.consumer_generation_id
                # During a rebalance the flow is stopped.
                active = set(self._get_active_partitions()) if self.flow_active else set()
                for tp, batch in (await self.fetch(active, _POLL_SECONDS)).items():
                    if self.flow_active and self.app.consumer_generation_id == generation:
                        await self.callback(self._to_message(tp, batch))
                # With records at hand nothing above waits, and the stream would get none of them.
                await asyncio.sleep(0)
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    @abstractmethod
    async def end_work(self, revoked: set[TP]) -> None:
        """End what processes the batches of partitions that are revoked, and let the present work finish."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """End the work on the partitions and commit it, before Faust gives them up."""
        await self.end_work(revoked)
        await self.commit_and_end_transactions()
        self._may_commit = False
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Commit from now on."""
        self._may_commit = True
        await super().on_partitions_assigned(assigned, generation_id)

    def _to_message(self, tp: TP, record: FetchedBatch) -> ConsumerMessage:
        """Return a batch as one message, with the offset of its last record."""
        last: Any = record.records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            [],
            None,
            cast("bytes", record),  # Faust passes the value on to `_BatchSchema` without looking at it.
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Do nothing: a lane or a forwarder asks for its seek itself."""
        return {}

    def ack(self, message: Message) -> bool:
        """Record that a batch was processed. Its lane or forwarder knows the offset to commit."""
        first = not message.acked
        message.acked = True
        return first

    async def commit_and_end_transactions(self) -> None:
        """Commit for the last time: Faust would skip this if the periodic commit, of older offsets, is under way."""
        try:
            async with asyncio.timeout(_LAST_COMMIT_SECONDS):
                # Faust's own wait for that future would swallow the cancellation by the timeout.
                while (under_way := self._commit_fut) is not None:
                    await asyncio.wait([under_way])
                await self.commit()
        except TimeoutError:
            log.warning("last_offset_not_committed", seconds=_LAST_COMMIT_SECONDS)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - Faust's
        """Commit what is still assigned, and try again in a second after a failure: Faust would take it for done."""
        assigned = self.assignment() if self._may_commit else set[TP]()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        done = bool(offsets) and await self.kafka.commit(offsets)
        if done:
            self._committed_offset.update(offsets)
        return done


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types here
    """Tells Faust of the rebalances of a consumer's group."""

    def __init__(self, consumer: BatchConsumer) -> None:
        self._told = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._told.app.on_rebalance_start()
        await self._told.on_partitions_revoked({TP(*tp) for tp in revoked})

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        generation = self._told.kafka.generation
        self._told.app.consumer_generation_id = generation
        await self._told.on_partitions_assigned({TP(*tp) for tp in assigned}, generation)


class LaneConsumer(BatchConsumer):
    """The consumer of the events topic. `lanes` is set by the transport's factory."""

    lanes: ClassVar[LaneManager]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's
        # The lanes of the present assignment. A lane that has ended keeps its position, for the last commit.
        self._lanes: dict[TP, Lane] = {}
        super().__init__(*args, **options)

    async def fetch(self, active: set[TP], seconds: float) -> dict[TP, FetchedBatch]:
        """Return at most one batch for each partition whose lane wants more."""
        seeks: dict[TP, int] = {}
        asked: dict[TP, int] = {}
        for tp in active:
            lane = self.lanes.get(tp.partition)
            if lane is None or not lane.open:
                continue
            # A seek that was taken from a lane must be carried out: nothing is awaited before that.
            if (offset := lane.fetch_buffer.take_seek()) is not None:
                seeks[tp] = offset
            asked[tp] = lane.fetch_buffer.generation
        if not asked:
            # aiokafka reads an empty set as every partition.
            await self.sleep(CLOSED_POLL_SECONDS)
            return {}
        seconds = seconds if len(asked) == len(active) else CLOSED_POLL_SECONDS
        fetched = await self.kafka.seek_and_fetch(seeks, asked, seconds)
        # A lane that was created meanwhile drops the batch, because of its generation.
        return {tp: FetchedBatch(asked[tp], records) for tp, records in fetched.items() if records}

    async def end_work(self, revoked: set[TP]) -> None:
        """End the lanes."""
        await self.lanes.revoke([tp.partition for tp in revoked])

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Create a lane for each partition; a former lane of the partition has ended by now."""
        self.lanes.assign([tp.partition for tp in assigned])
        self._lanes = {tp: lane for tp in assigned if (lane := self.lanes.get(tp.partition)) is not None}
        await super().on_partitions_assigned(assigned, generation_id)

    def _filter_tps_with_pending_acks(self, topics: object = None) -> Iterator[TP]:  # noqa: ARG002 - all are ours
        yield from self._lanes

    def _new_offset(self, tp: TP) -> int | None:
        return self._lanes[tp].position

    async def offset_range(self, partition: int) -> tuple[int, int]:
        """Return the first offset and the end of a partition of the events topic."""
        return await self.kafka.offset_range(TP(self.settings.topics.events, partition))


def transport_for(settings: Settings, lanes: LaneManager) -> type[Transport]:
    """Return the transport class whose consumer feeds these lanes; Faust creates the instances."""
    consumer = type("ConsumerOfLanes", (LaneConsumer,), {"settings": settings, "lanes": lanes})
    return type("LaneTransport", (Transport,), {"Consumer": consumer})
