"""The thread in which aiokafka runs: one hop for a seek and a fetch, and an answer for everybody who waits for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from mode.threads import WorkerThread

from worker.deadletter import SourceRecord

log = structlog.get_logger("worker.consumer_thread")
# A broker has one fetch of ours at a time. A partition that was sought or emptied meanwhile waits for its end.
_FETCH_MAX_WAIT_MS: Final = 50
CLOSE_SECONDS: Final = 5.0
# aiokafka itself waits for a minute, and the thread does two things at a time: lanes that ask a broker which is just
# coming up would keep fetches and commits from it for as long.
ANSWER_SECONDS: Final = 10.0


class _Thread(WorkerThread):
    """A thread that does not keep the process, should a consumer never end."""

    def __init__(self, service: "BatchConsumerThread", **options: Any) -> None:  # noqa: ANN401 - Faust's
        super().__init__(service, **options)
        self.daemon = True


class BatchConsumerThread(AIOKafkaConsumerThread):
    """The thread in which aiokafka runs, on a loop like the main thread's.

    With asyncio's own loop here a record took half a millisecond longer from the broker to its lane.
    """

    Worker = _Thread

    def __init__(self, consumer: Consumer, **options: Any) -> None:  # noqa: ANN401 - Faust's
        self._calls: set[asyncio.Future[Any]] = set()
        self._gone = False
        super().__init__(consumer, thread_loop=uvloop.new_event_loop(), **options)
        self._close_thread_loop_on_stop = True  # Made here for this thread alone.

    _commits_fail = False

    async def _serve(self) -> None:
        """Run the thread's loop to its end, and say so to all who wait for its answers."""
        try:
            await super()._serve()
        finally:
            self._gone = True
            # Where the main loop is closed, nobody waits any more.
            with suppress(RuntimeError):
                self.parent_loop.call_soon_threadsafe(self._abandon)

    def _abandon(self) -> None:
        for call in self._calls:
            if not call.done():
                call.set_exception(_ended())

    async def call_thread(
        self,
        fun: Callable[..., Awaitable[Any]],
        *args: Any,  # noqa: ANN401 - whatever the function takes
        **kwargs: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - whatever it returns
        """Return what a function returns in the thread. Faust would wait for ever for a thread that has ended.

        Raises:
            KafkaConnectionError: if the thread has ended, or ends before it answers.
        """
        if self._gone:
            raise _ended()
        answer: asyncio.Future[Any] = self.parent_loop.create_future()
        self._calls.add(answer)
        answer.add_done_callback(self._calls.discard)
        try:
            _ = await self.method_queue.call(answer, fun, *args, **kwargs)
        except RuntimeError as error:  # It has ended this very moment.
            answer.cancel()
            raise _ended() from error
        try:
            return await answer
        except asyncio.CancelledError:
            # Where the caller was not cancelled, the function was: its thread ends.
            if answer.cancelled():
                raise
            raise _ended() from None

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_MAX_WAIT_MS  # noqa: SLF001 - Faust fixes 1,500 and takes no setting
        return consumer

    async def seek_and_fetch(
        self, seeks: Mapping[TP, int], partitions: set[TP], seconds: float
    ) -> Mapping[TP, Sequence[SourceRecord]]:
        """Seek, then return what comes from these partitions in so many seconds: one hop to the thread and back."""
        found: Mapping[TP, Sequence[SourceRecord]] = await self.call_thread(
            self._seek_and_fetch, self._ensure_consumer(), seeks, partitions, seconds
        )
        return found

    async def _seek_and_fetch(
        self, consumer: AIOKafkaConsumer, seeks: Mapping[TP, int], partitions: set[TP], seconds: float
    ) -> Mapping[TP, Sequence[SourceRecord]]:
        # A rebalance may have taken one meanwhile; whoever wanted it is gone too.
        assigned = consumer.assignment()
        for partition, offset in seeks.items():
            if (tp := TopicPartition(*partition)) in assigned:
                consumer.seek(tp, offset)
        found: Mapping[TP, Sequence[SourceRecord]] = await self._fetch_records(
            consumer, partitions, timeout=seconds, max_records=self.app.conf.broker_max_poll_records
        )
        return found

    async def committed(self, tp: TP) -> int:
        """Return what the group has committed of a partition, the first offset that the broker holds if nothing yet.

        Raises:
            KafkaError: if it does not answer in time.
        """
        found: int = await self.call_thread(self._committed, self._ensure_consumer(), TopicPartition(*tp))
        return found

    async def _committed(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                found: int | None = await consumer.committed(tp)
                return (await consumer.beginning_offsets([tp]))[tp] if found is None else found
        except TimeoutError:
            raise KafkaTimeoutError(f"no offset of {tp.topic} {tp.partition} within {ANSWER_SECONDS:g} s") from None

    async def bounds(self, tp: TP) -> tuple[int, int]:
        """Return the first offset that the broker still holds of a partition, and its end.

        Raises:
            KafkaError: if it does not answer in time.
        """
        found: tuple[int, int] = await self.call_thread(self._bounds, self._ensure_consumer(), TopicPartition(*tp))
        return found

    async def _bounds(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> tuple[int, int]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                starts = await consumer.beginning_offsets([tp])
                ends = await consumer.end_offsets([tp])
        except TimeoutError:
            raise KafkaTimeoutError(f"no bounds of {tp.topic} {tp.partition} within {ANSWER_SECONDS:g} s") from None
        return starts[tp], ends[tp]

    async def on_thread_stop(self) -> None:
        """Close the consumer, within bounds and whatever it raises: Faust would wait for this thread for ever.

        With the broker away aiokafka's fetcher lets the cancellation of its own tasks out of `stop`.
        """
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().on_thread_stop()
        except (asyncio.CancelledError, KafkaError, OSError, TimeoutError) as error:
            log.warning("consumer_not_closed", error=repr(error))

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit for the group; a failure costs nothing but a stale lag, since Redis says where to start."""
        consumer = self._ensure_consumer()
        assigned = self.assignment()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer.commit({TopicPartition(*tp): offset for tp, offset in offsets.items() if tp in assigned})
        except (KafkaError, TimeoutError) as error:
            if not self._commits_fail:
                log.warning("group_offset_not_committed", error=str(error) or f"no answer in {ANSWER_SECONDS:g} s")
            self._commits_fail = True
            return False
        self._commits_fail = False
        return True


def _ended() -> KafkaConnectionError:
    return KafkaConnectionError("the consumer's thread has ended")
