"""What a batch tells the world before it is committed: states, transitions, dead letters, timers.

Outputs are a function of the log, so whatever is sent twice is the same twice.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from schemas.names import Topics
from schemas.settings import Settings
from worker.ports import Output, OutputError

# Kafka's default limit on a batch; ours are smaller, but for one of a single big record.
_MOST_BYTES: Final = 1_048_588
_BATCH_BYTES: Final = 1_000_000
_PING_SECONDS: Final = 2.0
# Longer than a leader election usually takes. It ends a request, and a batch for whose partition there is no leader;
# what a leader does not take is tried for ever, since aiokafka expires no batch of an idempotent producer.
REQUEST_TIMEOUT_MS: Final = 10_000
# From when on it is said that records wait.
UNACKNOWLEDGED_SECONDS: Final = 10.0


class Outputs:
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
        self._waiting: dict[object, float] = {}

    async def start(self) -> None:
        """Connect.

        Raises:
            OutputError: if no broker answers.
        """
        await self._producer.start()

    async def stop(self) -> None:
        """Send what is under way and disconnect."""
        await self._producer.stop()

    async def ping(self) -> None:
        """Ask whether a broker answers, and takes what is sent.

        Raises:
            OutputError: if none does within 2 seconds, or records have not been acknowledged for 10.
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

    async def send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        """Append records in order, wait until all are acknowledged, and return the offset after the last.

        None stands for nothing to send. It waits for as long as a leader takes to accept them (see `ping`), and returns
        or raises only when none of them is under way any more: it would overtake what is sent next.

        Raises:
            OutputError: if Kafka refused any, or there was no leader in time; some may have been appended.
            ValueError: if a record is too big for Kafka, which would refuse it however often it came.
        """
        waiting = object()
        self._waiting[waiting] = asyncio.get_running_loop().time()
        try:
            return await self._send(topic, partition, outputs)
        finally:
            del self._waiting[waiting]

    async def _send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        pending: list[asyncio.Future[RecordMetadata]] = []
        batches = self._batches(topic, outputs)
        try:
            for batch in batches:
                pending.append(await self._producer.send_batch(batch, topic, partition=partition))  # noqa: PERF401 - below
        except OutputError:
            await asyncio.gather(*pending, return_exceptions=True)
            raise
        for result in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        return int(pending[-1].result().offset) + batches[-1].record_count() if pending else None

    def _batches(self, topic: str, outputs: Sequence[Output]) -> list[BatchBuilder]:
        batches: list[BatchBuilder] = []
        left = deque(outputs)
        while left:
            batch = self._producer.create_batch()
            while left:
                key, value, headers = left[0]
                if batch.append(key=key, value=value, headers=list(headers), timestamp=None) is None:
                    break
                left.popleft()
            if (size := batch.size()) > _MOST_BYTES:  # aiokafka takes the first record of a batch whatever its size.
                raise ValueError(f"a record for {topic} makes a batch of {size} bytes, more than {_MOST_BYTES}")
            batch.close()
            batches.append(batch)
        return batches

    async def dead_letters(self, partition: int, outputs: Sequence[Output]) -> None:
        """Append dead letters, spread over the topic as its source is.

        Raises:
            OutputError: as `send`.
        """
        partitions = await self._producer.partitions_for(self.topics.deadletter)
        await self.send(self.topics.deadletter, partition % len(partitions), outputs)
