"""Faust's Kafka transport, which hands over a fetched batch of a partition as one message.

Faust tracks, acknowledges and commits message by message; a lane does so by batch. So three parts are replaced:

- what is fetched: only partitions whose lane wants more, after the seek that the lane asked for;
- what a message is: a batch;
- which offset is committed for the group: the lane's position, so that the lag of the group is right.

Ingress has a consumer of its own, in `worker.runtime.faust.ingress_transport`. Both are `BatchConsumer`s.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, cast

from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP, ConsumerMessage, Message

from schemas.kafka.source_record import SourceRecord
from worker.partition.fetch_buffer import FetchedBatch
from worker.partition.lane import Lane
from worker.partition.manager import LaneManager
from worker.runtime.faust.consumer_thread import BatchConsumerThread

# While a partition wants no records, it is asked again after this time.
CLOSED_POLL_SECONDS: Final = 0.02
FetchedRecords = Mapping[TP, Sequence[SourceRecord]]


class Fetch(NamedTuple):
    """A fetch under way: its future records, and the partitions that it asks for."""

    records: asyncio.Future[FetchedRecords]
    wanted: set[TP]


class BatchConsumer(Consumer):
    """Faust's consumer, with batches for messages."""

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's
        self._fetch: Fetch | None = None
        super().__init__(*args, **options)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @abstractmethod
    async def begin_fetch(self, active_partitions: set[TP], timeout: float) -> Fetch | None:  # noqa: ASYNC109 - Faust's
        """Begin to fetch from the partitions that want more; None if no partition does."""

    @abstractmethod
    def batches_of(self, fetch: Fetch) -> dict[TP, list[FetchedBatch]]:
        """Return the batches of a fetch, for the partitions that still wait for them."""

    async def _getmany(  # the name and the arguments are Faust's
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109
    ) -> dict[TP, list[FetchedBatch]]:
        """Return at most one batch for each partition that wants more."""
        if self._fetch is None:
            self._fetch = await self.begin_fetch(active_partitions or set(), timeout)
        if self._fetch is None:
            # aiokafka reads an empty set as every partition.
            await self.sleep(CLOSED_POLL_SECONDS)
            return {}
        fetch = self._fetch
        # Faust may cancel this call at a rebalance. The fetch goes on, and the next call takes its records.
        await asyncio.wait([fetch.records])
        self._fetch = None
        return self.batches_of(fetch)

    async def on_stop(self) -> None:
        """Cancel the fetch under way."""
        if self._fetch is not None:
            self._fetch.records.cancel()
            await asyncio.gather(self._fetch.records, return_exceptions=True)
            self._fetch = None
        await super().on_stop()

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
        """Note that a batch was processed. Its lane or forwarder knows the offset to commit."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 - Faust's
        """Commit, and try again in a second after a failure: Faust would take it for done."""
        before = {tp: self._committed_offset[tp] for tp in offsets}
        done: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if not done:
            self._committed_offset.update(before)
        return done

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust would expand the offsets between two messages, here a whole batch; nothing needs them."""


class LaneConsumer(BatchConsumer):
    """The consumer of the events topic. `lanes` and `events_topic` are set by the transport's factory."""

    lanes: ClassVar[LaneManager]
    events_topic: ClassVar[str]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's
        # The lanes that asked for the present fetch, each with its generation.
        self._asked: Mapping[TP, tuple[Lane, int]] = {}
        super().__init__(*args, **options)

    async def begin_fetch(self, active_partitions: set[TP], timeout: float) -> Fetch | None:  # noqa: ASYNC109 - Faust's
        """Begin to fetch from the partitions whose lane wants more."""
        # This method never waits: a seek that was taken from a lane must be carried out.
        seeks: dict[TP, int] = {}
        asked: dict[TP, tuple[Lane, int]] = {}
        closed = False
        for tp in active_partitions:
            lane = self.lanes.get(tp.partition)
            if lane is None or not lane.open:
                closed = True
                continue
            if (offset := lane.fetch_buffer.take_seek()) is not None:
                seeks[tp] = offset
                # Faust skips a message below the last one that it saw.
                self._read_offset[tp] = None
            asked[tp] = lane, lane.fetch_buffer.generation
        if not asked:
            return None
        self._asked = asked
        fetching = self._thread.seek_and_fetch(seeks, set(asked), CLOSED_POLL_SECONDS if closed else timeout)
        return Fetch(asyncio.ensure_future(fetching), set(asked))

    def batches_of(self, fetch: Fetch) -> dict[TP, list[FetchedBatch]]:
        """Return the batches of a fetch, for the lanes that still exist."""
        batches: dict[TP, list[FetchedBatch]] = {}
        for fetched_tp, records in fetch.records.result().items():
            tp = TP(*fetched_tp)
            lane, generation = self._asked.get(tp, (None, 0))
            # A lane that was created meanwhile would drop the batch, because of its generation.
            if records and lane is not None and self.lanes.get(tp.partition) is lane:
                batches[tp] = [FetchedBatch(generation, records)]
        return batches

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """End the lanes before Faust gives the partitions up."""
        await self.lanes.revoke([tp.partition for tp in revoked])
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Create a lane for each partition; a former lane of the partition has ended by now."""
        self.lanes.assign([tp.partition for tp in assigned])
        self._acked.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    def _filter_tps_with_pending_acks(self, topics: object = None) -> Iterator[TP]:  # noqa: ARG002 - all are ours
        yield from (TP(self.events_topic, lane.partition) for lane in self.lanes)

    def _new_offset(self, tp: TP) -> int | None:
        lane = self.lanes.get(tp.partition)
        return None if lane is None else lane.position

    async def offset_range(self, partition: int) -> tuple[int, int]:
        """Return the first offset and the end of a partition of the events topic."""
        return await self._thread.offset_range(TP(self.events_topic, partition))


def transport_for(lanes: LaneManager, events_topic: str) -> type[Transport]:
    """Return the transport class whose consumer feeds these lanes; Faust creates the instances."""
    consumer = type("ConsumerOfLanes", (LaneConsumer,), {"lanes": lanes, "events_topic": events_topic})
    return type("LaneTransport", (Transport,), {"Consumer": consumer})
