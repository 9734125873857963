"""The worker's Kafka producer: states, transitions, dead letters and timers.

Outputs are a function of the log, so an output that is sent twice is the same both times.
"""

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.structs import RecordMetadata

from schemas.clock import now_ms
from schemas.clock_skew import LOG_TIME, broker_time, skew_between, skew_finding
from schemas.names import Topics
from schemas.settings import Settings
from worker.errors import WorkerError
from worker.ports import Output, OutputError

# Kafka's default limit for a batch. Our batches are smaller, except a batch of a single big record.
_MOST_BYTES: Final = 1_048_588
_BATCH_BYTES: Final = 1_000_000
_PING_SECONDS: Final = 2.0
# Longer than a leader election usually takes. It ends a request, and a batch whose partition has no leader. A batch
# that a leader does not accept is retried for ever, since aiokafka never expires a batch of an idempotent producer.
REQUEST_TIMEOUT_MS: Final = 10_000
# After this time `ping` reports that records are not acknowledged.
UNACKNOWLEDGED_SECONDS: Final = 10.0


class UnfitTopicError(WorkerError, OutputError):  # type: ignore[misc]  # aiokafka ships no types
    """A topic is missing or has the wrong number of partitions; the message says what to do."""


class KafkaOutputs:
    """The worker's producer: `acks=all`, idempotent, whole batches to one partition at a time."""

    def __init__(self, settings: Settings) -> None:
        self.topics: Topics = settings.topics
        self._producer = AIOKafkaProducer(
            **settings.kafka_client(),
            client_id="sleep-worker",
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        self._waiting: dict[object, float] = {}  # When each send began.
        # Why a topic cannot be used, by its name: see `TopicWatch`.
        self.unfit: Mapping[str, str] = {}
        self._skew = 0

    def skew_finding(self) -> str | None:
        """Return how this machine's clock differs from the broker's, None if it does not."""
        return skew_finding(LOG_TIME, self._skew)

    async def start(self) -> None:
        """Connect.

        Raises:
            OutputError: if no broker answers.
        """
        await self._producer.start()

    async def stop(self) -> None:
        """Finish the sends that are under way, and disconnect."""
        await self._producer.stop()

    async def ping(self) -> None:
        """Check that a broker answers and acknowledges records.

        Raises:
            OutputError: if no broker answers within 2 seconds, or records have waited for 10 seconds.
        """
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._producer.client.fetch_all_metadata()
        except TimeoutError:
            raise KafkaConnectionError(f"no broker answers within {_PING_SECONDS:g} s") from None
        since = min(self._waiting.values(), default=math.inf)
        if (waited := asyncio.get_running_loop().time() - since) > UNACKNOWLEDGED_SECONDS:
            raise KafkaTimeoutError(
                f"records have not been acknowledged for {waited:.0f} s though a broker answers: is a leader without "
                "enough replicas in sync (min.insync.replicas)?"
            )

    async def partition_counts(self) -> dict[str, int]:
        """Return the partition count of each of our topics that exists.

        Raises:
            OutputError: if no broker answers within 2 seconds.
        """
        client = self._producer.client
        try:
            async with asyncio.timeout(_PING_SECONDS):
                listed = await client.fetch_all_metadata()
                counts = {topic: len(listed.partitions_for_topic(topic) or ()) for topic in self.topics}
                known = {topic: client.cluster.partitions_for_topic(topic) for topic in self.topics}
                if any(numbers is not None and len(numbers) != counts[topic] for topic, numbers in known.items()):
                    await client.force_metadata_update()
        except TimeoutError:
            raise KafkaConnectionError(f"no broker answers within {_PING_SECONDS:g} s") from None
        return {topic: count for topic, count in counts.items() if count}

    def require_fit(self, topic: str) -> None:
        """Refuse a topic that is known to be missing or wrong.

        Raises:
            OutputError: saying what is wrong and what to do.
        """
        if (problem := self.unfit.get(topic)) is not None:
            raise UnfitTopicError(problem)

    async def send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        """Append records in order, wait until Kafka acknowledges all, and return the offset after the last one.

        Return None if there are no records. This waits until a leader accepts the records, however long that takes (see
        `ping`). It returns or raises only when no record is under way: a late one would overtake the next records.

        Raises:
            OutputError: if Kafka refuses a record, or there is no leader in time. Other records may be appended.
            ValueError: if a record is too big for Kafka, which would refuse it at each try.
        """
        send = object()
        self._waiting[send] = asyncio.get_running_loop().time()
        try:
            return await self._send(topic, partition, outputs)
        finally:
            del self._waiting[send]

    async def _results(self, pending: Sequence[asyncio.Future[RecordMetadata]]) -> list[RecordMetadata | BaseException]:
        """Wait for all batches. If the broker has refused one for good, the next batch gets a new producer id."""
        results = await asyncio.gather(*pending, return_exceptions=True)
        if any(isinstance(result, OutputError) and not result.retriable for result in results):
            self._take_new_producer_id()
        return results

    def _take_new_producer_id(self) -> None:
        """Make the producer request a new id and count its records from 0, as the Java client does.

        aiokafka goes on counting after records that a broker refused. With the same id, the broker would refuse all
        later records of their partition (`OutOfOrderSequenceNumber`).
        """
        present = self._producer._txn_manager  # noqa: SLF001 - there is no public way
        vars(present).update(vars(TransactionManager(None, present.transaction_timeout_ms)))

    async def _send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        pending: list[asyncio.Future[RecordMetadata]] = []
        before = now_ms()
        self.require_fit(topic)
        if outputs and partition not in await self._producer.partitions_for(topic):
            # aiokafka would fail an assertion. The watch has not checked the topic yet, or it was just repaired.
            await self._producer.client.force_metadata_update()
            raise UnfitTopicError(f"topic {topic} has no partition {partition}; look at `sleepctl topics check`")
        batches = self._batches(topic, outputs)
        try:
            for batch in batches:
                pending.append(await self._producer.send_batch(batch, topic, partition=partition))  # noqa: PERF401 - see `except`
        except OutputError:
            await self._results(pending)
            raise
        for result in await self._results(pending):
            if isinstance(result, BaseException):
                raise result
            # Only a topic with LogAppendTime returns the broker's time: the events topic, which gets the timers.
            if (theirs := broker_time(result.timestamp, result.timestamp_type)) is not None:
                self._skew = skew_between(before, theirs, now_ms())
        return int(pending[-1].result().offset) + batches[-1].record_count() if pending else None

    def _batches(self, topic: str, outputs: Sequence[Output]) -> list[BatchBuilder]:
        batches: list[BatchBuilder] = []
        remaining = deque(outputs)
        while remaining:
            batch = self._producer.create_batch()
            while remaining:
                key, value, headers = remaining[0]
                if batch.append(key=key, value=value, headers=list(headers), timestamp=None) is None:
                    break
                remaining.popleft()
            if (size := batch.size()) > _MOST_BYTES:  # aiokafka accepts a first record of any size.
                raise ValueError(f"a record for {topic} makes a batch of {size} bytes, more than {_MOST_BYTES}")
            batch.close()
            batches.append(batch)
        return batches

    async def dead_letters(self, partition: int, outputs: Sequence[Output]) -> None:
        """Append dead letters of a source partition, which decides their partition.

        Raises:
            OutputError: as `send`.
        """
        self.require_fit(self.topics.deadletter)
        partitions = await self._producer.partitions_for(self.topics.deadletter)
        await self.send(self.topics.deadletter, partition % len(partitions), outputs)
