"""Looks back into the topics, beside the consumer: the record before progress, what stands in the states topic."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from schemas.errors import describe
from schemas.settings import Settings
from worker.ports import Kept, Page

# As long as a produce may take, so that a lane that must end ends.
_ANSWER_SECONDS: Final = 10.0
_POLL_MS: Final = 200


class Reader:
    """A consumer outside the group, which all lanes share, one after the other; it connects when first used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
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
        async with self._lock, _answering():
            return await self._end(await self._connected(), TopicPartition(topic, partition))

    async def read(self, topic: str, partition: int, offset: int, most: int) -> Page:
        """Return at most so many records from an offset on; from the start, where the log no longer holds it.

        Compaction and the markers of transactions leave gaps, and a page may be short, but it is empty only at the
        partition's end.

        Raises:
            OutputError: if the broker does not answer within 10 seconds.
        """
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
                    found = (await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=most)).get(tp)
                    if found:
                        records = [Kept(item.offset, item.timestamp, item.key, item.value) for item in found]
                        return Page(records, records[-1].offset + 1)
                return Page([], end)
            finally:
                consumer.unsubscribe()

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
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
    async def _end(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
        return int((await consumer.end_offsets([tp]))[tp])


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Bound how long the broker may take, and make one kind of error of what it does then."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            yield
    except TimeoutError:
        raise KafkaConnectionError(f"no broker answers within {_ANSWER_SECONDS:g} s") from None
    except OSError as error:
        raise KafkaConnectionError(describe(error)) from error
