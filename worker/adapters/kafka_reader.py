"""Reads single pages of topics for lanes: the record before progress, and records of the states topic."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError

from schemas.errors import describe
from schemas.kafka.fetcher import AnyBytesConsumer
from schemas.settings import Settings
from worker.ports import Page, TopicRecord

# As long as a produce may take, so that a lane can end in time.
_ANSWER_SECONDS: Final = 10.0
_POLL_MS: Final = 200


class KafkaReader:
    """A consumer without a group, which all lanes share, one call at a time. It connects at its first use."""

    def __init__(self, settings: Settings, require_fit: Callable[[str], None] = lambda _: None) -> None:
        self._settings = settings
        # Raises OutputError if a topic is missing: aiokafka would ask for it until the timeout.
        self._require_fit = require_fit
        self._consumer: AnyBytesConsumer | None = None
        self._lock = asyncio.Lock()

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record of a partition.

        Raises:
            OutputError: if the broker does not answer within 10 seconds.
        """
        self._require_fit(topic)
        async with self._lock, _answering():
            return await self._end(await self._connected(), TopicPartition(topic, partition))

    async def read(self, topic: str, partition: int, offset: int, most: int) -> Page:
        """Return at most `most` records from an offset on, or from the first offset if the log begins later.

        A page may be short, since compaction and transaction markers leave gaps. It is empty only at the partition's
        end.

        Raises:
            OutputError: if the broker does not answer within 10 seconds.
        """
        self._require_fit(topic)
        tp = TopicPartition(topic, partition)
        async with self._lock, _answering():
            consumer = await self._connected()
            end = await self._end(consumer, tp)
            if offset >= end:
                return Page([], end)
            consumer.assign([tp])
            consumer.seek(tp, offset)
            try:
                while await consumer.position(tp) < end:
                    fetched = (await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=most)).get(tp)
                    if fetched:
                        records = [TopicRecord(item.offset, item.timestamp, item.key, item.value) for item in fetched]
                        return Page(records, records[-1].offset + 1)
                return Page([], end)
            finally:
                consumer.unsubscribe()

    async def _connected(self) -> AnyBytesConsumer:
        if self._consumer is None:
            consumer = AnyBytesConsumer(
                **self._settings.kafka_client(),
                client_id="sleep-worker-reader",
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                request_timeout_ms=round(_ANSWER_SECONDS * 1000),
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    @staticmethod
    async def _end(consumer: AnyBytesConsumer, tp: TopicPartition) -> int:
        return int((await consumer.end_offsets([tp]))[tp])


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Bound the time of a call to the broker, and raise OutputError for any failure."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            yield
    except TimeoutError:
        raise KafkaConnectionError(f"no broker answers within {_ANSWER_SECONDS:g} s") from None
    except OSError as error:
        raise KafkaConnectionError(describe(error)) from error
