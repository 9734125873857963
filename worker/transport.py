"""Faust's Kafka transport, handing over one fetched partition batch as one message.

Faust tracks, acknowledges and commits message by message; a lane does so by batch. Three things are replaced:
what is fetched (only partitions whose lane wants more, after the seek that the lane asked for), what a message
is (a whole batch), and which offset is committed for the group (what the lane has applied, so that lag is true).
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, cast

from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP, ConsumerMessage, Message

from worker.consumer_thread import BatchConsumerThread
from worker.deadletter import SourceRecord
from worker.intake import Fetched
from worker.lane import Lane
from worker.lanes import Lanes

# While a lane is closed the fetch returns early, so that the lane is asked again soon after it opens.
_CLOSED_POLL_SECONDS: Final = 0.02


class _Fetch(NamedTuple):
    """A fetch under way: what it brings, the lanes that asked, all it was asked for, and under which assignment."""

    found: asyncio.Future[Mapping[TP, Sequence[SourceRecord]]]
    asked: Mapping[TP, tuple[Lane, int]]
    wanted: set[TP]
    assignment: int


class BatchConsumer(Consumer):
    """Faust's consumer over batches. `lanes` and `events_topic` are set by the transport's factory."""

    lanes: ClassVar[Lanes]
    events_topic: ClassVar[str]
    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Faust's
        self._fetch: _Fetch | None = None
        self._assignment = 0
        # Ingress partitions of which nothing has been lost since they were sought to what the group has committed. A
        # lane tells by itself where a batch is missing; of ingress nobody would.
        self._followed: set[TP] = set()
        super().__init__(*args, **options)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(  # the name and the arguments are Faust's
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109
    ) -> dict[TP, list[Fetched]]:
        """Return at most one batch a partition, from the partitions whose lane wants more."""
        if self._fetch is None:
            self._fetch = await self._begin_fetch(active_partitions or set(), timeout)
        if self._fetch is None:
            # aiokafka reads an empty set as every partition.
            await self.sleep(_CLOSED_POLL_SECONDS)
            return {}
        fetch = self._fetch
        # Faust may cancel this at a rebalance, and what the thread then brings would be lost: the next call takes it.
        await asyncio.wait([fetch.found])
        self._fetch = None
        return self._batches_of(fetch)

    async def _begin_fetch(self, active_partitions: set[TP], timeout: float) -> _Fetch | None:  # noqa: ASYNC109 - as above
        """Begin to fetch from whatever partition wants more; None where none does."""
        assignment = self._assignment
        seeks = await self._where_to_follow(active_partitions)
        # From here on nothing waits, since a seek that was taken from a lane must be carried out.
        asked: dict[TP, tuple[Lane, int]] = {}
        wanted: set[TP] = set()
        closed = False
        for tp in active_partitions:
            if tp.topic != self.events_topic:
                if tp in seeks:
                    self._read_offset[tp] = None
                if tp in seeks or tp in self._followed:
                    wanted.add(tp)
                continue
            lane = self.lanes.get(tp.partition)
            if lane is None or not lane.open:
                closed = True
                continue
            if (offset := lane.intake.take_seek()) is not None:
                seeks[tp] = offset
                # Faust passes over a message below the last one that it saw.
                self._read_offset[tp] = None
            asked[tp] = lane, lane.intake.generation
            wanted.add(tp)
        if not wanted:
            return None
        fetching = self._thread.seek_and_fetch(seeks, wanted, _CLOSED_POLL_SECONDS if closed else timeout)
        return _Fetch(asyncio.ensure_future(fetching), asked, wanted, assignment)

    async def _where_to_follow(self, active_partitions: set[TP]) -> dict[TP, int]:
        """Return where ingress partitions go on that are not followed; those whose offset is not known wait a round."""
        unknown = [tp for tp in active_partitions if tp.topic != self.events_topic and tp not in self._followed]
        found = await asyncio.gather(*map(self._thread.committed, unknown), return_exceptions=True)
        for offset in found:
            if isinstance(offset, BaseException) and not isinstance(offset, KafkaError):
                raise offset
        # One that was given up meanwhile cannot be sought.
        assigned = self._thread.assignment() if unknown else set()
        known = zip(unknown, found, strict=True)
        return {tp: offset for tp, offset in known if isinstance(offset, int) and tp in assigned}

    def _batches_of(self, fetch: _Fetch) -> dict[TP, list[Fetched]]:
        """Return what a fetch has brought, for those who still wait for it."""
        found = fetch.found.result()
        if fetch.assignment == self._assignment:
            self._followed |= {tp for tp in fetch.wanted if tp.topic != self.events_topic}
        batches: dict[TP, list[Fetched]] = {}
        for found_tp, records in found.items():
            tp = TP(*found_tp)
            lane, generation = fetch.asked.get(tp, (None, 0))
            # A lane that came meanwhile would drop it, for its generation. Of ingress, whatever was fetched before an
            # assignment is fetched again after it.
            waited_for = self.lanes.get(tp.partition) is lane if lane else fetch.assignment == self._assignment
            if records and waited_for:
                batches[tp] = [Fetched(generation, records)]
        return batches

    async def on_stop(self) -> None:
        """Give up the fetch under way."""
        if self._fetch is not None:
            self._fetch.found.cancel()
            await asyncio.gather(self._fetch.found, return_exceptions=True)
            self._fetch = None
        await super().on_stop()

    def _to_message(self, tp: TP, record: Fetched) -> ConsumerMessage:
        """Make one message of a batch; its offset is the last record's."""
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
        """Do nothing: a lane asks for the seek itself once Redis has told it where to start."""
        return {}

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """End the lanes before Faust gives the partitions up."""
        await self.lanes.revoke([tp.partition for tp in revoked if tp.topic == self.events_topic])
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Make a lane for each partition; an older one has ended by now."""
        self.lanes.assign([tp.partition for tp in assigned if tp.topic == self.events_topic])
        # Faust drops what it had queued, and aiokafka may have read on: of ingress, what is not committed comes again.
        self._assignment += 1
        self._followed.clear()
        self._acked.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    def ack(self, message: Message) -> bool:
        """Note that a batch was dealt with; which offset that means is the lane's to say."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        # What was handed over before a partition was given up says nothing of where its present owner is.
        if message.tp.topic != self.events_topic and message.tp in self._followed:
            self._acked[message.tp] = [message.offset]
        return True

    def _filter_tps_with_pending_acks(self, topics: object = None) -> Iterator[TP]:  # noqa: ARG002 - all are ours
        yield from (TP(self.events_topic, lane.partition) for lane in self.lanes)
        yield from [tp for tp in self._acked if tp.topic != self.events_topic]

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic == self.events_topic:
            lane = self.lanes.get(tp.partition)
            return None if lane is None else lane.position
        acknowledged = self._acked.get(tp)
        return acknowledged[-1] + 1 if acknowledged else None

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 - Faust's
        """Commit, and try again in a second where it failed: Faust would take it for done."""
        before = {tp: self._committed_offset[tp] for tp in offsets}
        done: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if not done:
            self._committed_offset.update(before)
        return done

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust would expand the offsets between two messages, here a whole batch; nothing needs them."""

    async def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that the events topic still holds of a partition, and its end."""
        return await self._thread.bounds(TP(self.events_topic, partition))


def transport_for(lanes: Lanes, events_topic: str) -> type[Transport]:
    """Return the transport class whose consumer feeds these lanes; Faust makes the instances itself."""
    consumer = type("LaneConsumer", (BatchConsumer,), {"lanes": lanes, "events_topic": events_topic})
    return type("LaneTransport", (Transport,), {"Consumer": consumer})
