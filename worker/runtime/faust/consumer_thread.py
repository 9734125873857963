"""The thread in which aiokafka runs: one hop for a seek and a fetch, and an answer for each caller."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from mode.threads import WorkerThread

from schemas.kafka.fetcher import read_any_bytes
from schemas.kafka.source_record import SourceRecord

log = structlog.get_logger("worker.runtime.faust.consumer_thread")
# A broker has one fetch of this consumer at a time. A partition that was sought meanwhile waits for its end.
_FETCH_MAX_WAIT_MS: Final = 50
CLOSE_SECONDS: Final = 5.0
# aiokafka itself waits for a minute, and the thread runs two calls at a time. So lanes that ask a starting broker would
# block fetches and commits for a minute.
ANSWER_SECONDS: Final = 10.0


class _Thread(WorkerThread):
    """A daemon thread, so that a consumer that never ends does not keep the process."""

    def __init__(self, service: "BatchConsumerThread", **options: Any) -> None:  # noqa: ANN401 - Faust's
        super().__init__(service, **options)
        self.daemon = True


class BatchConsumerThread(AIOKafkaConsumerThread):
    """The thread in which aiokafka runs, on uvloop as the main thread.

    With asyncio's own loop a record took half a millisecond longer from the broker to its lane.
    """

    Worker = _Thread

    def __init__(self, consumer: Consumer, **options: Any) -> None:  # noqa: ANN401 - Faust's
        self._calls: set[asyncio.Future[Any]] = set()
        self._gone = False
        super().__init__(consumer, thread_loop=uvloop.new_event_loop(), **options)
        self._close_thread_loop_on_stop = True  # Created above, for this thread alone.

    async def on_start(self) -> None:
        """Start the consumer, which accepts any bytes that its topics hold."""
        await super().on_start()
        read_any_bytes(self._consumer)

    _commits_fail = False

    async def _serve(self) -> None:
        """Run the thread's loop to its end, and say so to all who wait for its answers."""
        try:
            await super()._serve()
        finally:
            self._gone = True
            # If the main loop is closed, no caller waits any more.
            with suppress(RuntimeError):
                self.parent_loop.call_soon_threadsafe(self._abandon)

    def _abandon(self) -> None:
        for call in self._calls:
            if not call.done():
                call.set_exception(_ended())

    async def call_thread(
        self,
        fun: Callable[..., Awaitable[Any]],
        *args: Any,  # noqa: ANN401 - the arguments of the function
        **kwargs: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - its result
        """Call a function in the thread and return its result. Faust would wait for ever for a thread that has ended.

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
        except RuntimeError as error:  # The thread has just ended.
            answer.cancel()
            raise _ended() from error
        try:
            return await answer
        except asyncio.CancelledError:
            # If the caller was not cancelled, the function was, because its thread ends.
            if answer.cancelled():
                raise
            raise _ended() from None

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe to topics. If the app is stopped meanwhile, the caller is cancelled.

        Faust calls this in a task of its own, and would log a traceback for a stop during the start.
        """
        try:
            await super().subscribe(topics)
        except KafkaConnectionError:
            if not self.app.should_stop:
                raise
            raise asyncio.CancelledError from None

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _FETCH_MAX_WAIT_MS  # noqa: SLF001 - Faust fixes 1,500 and takes no setting
        return consumer

    async def seek_and_fetch(
        self, seeks: Mapping[TP, int], partitions: set[TP], seconds: float
    ) -> Mapping[TP, Sequence[SourceRecord]]:
        """Seek, then fetch from these partitions for at most `seconds`: one hop to the thread and back."""
        records: Mapping[TP, Sequence[SourceRecord]] = await self.call_thread(
            self._seek_and_fetch, self._ensure_consumer(), seeks, partitions, seconds
        )
        return records

    async def _seek_and_fetch(
        self, consumer: AIOKafkaConsumer, seeks: Mapping[TP, int], partitions: set[TP], seconds: float
    ) -> Mapping[TP, Sequence[SourceRecord]]:
        # A rebalance may have revoked a partition meanwhile. Its lane is gone too.
        assigned = consumer.assignment()
        for partition, offset in seeks.items():
            if (tp := TopicPartition(*partition)) in assigned:
                consumer.seek(tp, offset)
        records: Mapping[TP, Sequence[SourceRecord]] = await self._fetch_records(
            consumer, partitions, timeout=seconds, max_records=self.app.conf.broker_max_poll_records
        )
        return records

    async def committed(self, tp: TP) -> int | None:
        """Return the offset that the group has committed of a partition, None if it has committed none.

        Raises:
            KafkaError: if Kafka does not answer in time.
        """
        offset: int | None = await self.call_thread(self._committed, self._ensure_consumer(), TopicPartition(*tp))
        return offset

    async def _committed(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                offset: int | None = await consumer.committed(tp)
                return offset
        except TimeoutError:
            raise KafkaTimeoutError(f"no offset of {tp.topic} {tp.partition} within {ANSWER_SECONDS:g} s") from None

    async def offset_range(self, tp: TP) -> tuple[int, int]:
        """Return the first offset and the end of a partition.

        Raises:
            KafkaError: if Kafka does not answer in time.
        """
        consumer = self._ensure_consumer()
        offsets: tuple[int, int] = await self.call_thread(self._offset_range, consumer, TopicPartition(*tp))
        return offsets

    async def _offset_range(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> tuple[int, int]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                starts = await consumer.beginning_offsets([tp])
                ends = await consumer.end_offsets([tp])
        except TimeoutError:
            raise KafkaTimeoutError(
                f"no offset range of {tp.topic} {tp.partition} within {ANSWER_SECONDS:g} s"
            ) from None
        return starts[tp], ends[tp]

    def refused_topics(self) -> frozenset[str]:
        """Return the topics that Kafka did not describe to this user when metadata were last read."""
        consumer = self._consumer
        return frozenset() if consumer is None else frozenset(consumer._client.cluster.unauthorized_topics)  # noqa: SLF001 - there is no public way

    async def on_thread_stop(self) -> None:
        """Close the consumer in bounded time, whatever it raises: Faust would wait for this thread for ever.

        If the broker is unreachable, `stop` of aiokafka's fetcher raises the cancellation of its own tasks.
        """
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().on_thread_stop()
        except (asyncio.CancelledError, KafkaError, OSError, TimeoutError) as error:
            log.warning("consumer_not_closed", error=repr(error))

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets for the group.

        After a failure only the lag is stale, since Redis decides where lanes start.
        """
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
