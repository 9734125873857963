"""What a batch tells the world before it is committed: states, transitions, dead letters, timers.

Outputs are a function of the log, so whatever is sent twice is the same twice.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import RecordMetadata

from schemas.names import Topics
from schemas.settings import Settings
from worker.ports import Output

# Kafka's default limit on a batch; ours are smaller, but for one of a single big record.
_MOST_BYTES: Final = 1_048_588
_BATCH_BYTES: Final = 1_000_000
_PING_SECONDS: Final = 2.0
# Longer than a leader election usually takes, and short enough that a lane that must end ends.
REQUEST_TIMEOUT_MS: Final = 10_000


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
        """Ask whether a broker answers.

        Raises:
            OutputError: if none does within 2 seconds.
        """
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await self._producer.client.fetch_all_metadata()
        except TimeoutError:
            raise KafkaConnectionError(f"no broker answers within {_PING_SECONDS:g} s") from None

    async def send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        """Append records in order, wait until all are acknowledged, and return the offset after the last.

        None stands for nothing to send.

        Raises:
            OutputError: if any was not acknowledged in time; some may have been appended.
            ValueError: if a record is too big for Kafka, which would refuse it however often it came.
        """
        pending: list[asyncio.Future[RecordMetadata]] = []
        index = count = 0
        while index < len(outputs):
            batch = self._producer.create_batch()
            first = index
            while index < len(outputs):
                key, value, headers = outputs[index]
                if batch.append(key=key, value=value, headers=list(headers), timestamp=None) is None:
                    break
                index += 1
            count = index - first
            if (size := batch.size()) > _MOST_BYTES:  # aiokafka takes the first record of a batch whatever its size.
                raise ValueError(f"a record for {topic} makes a batch of {size} bytes, more than {_MOST_BYTES}")
            batch.close()
            pending.append(await self._producer.send_batch(batch, topic, partition=partition))
        acknowledged = await asyncio.gather(*pending)
        return int(acknowledged[-1].offset) + count if acknowledged else None

    async def dead_letters(self, partition: int, outputs: Sequence[Output]) -> None:
        """Append dead letters, spread over the topic as its source is.

        Raises:
            OutputError: as `send`.
        """
        partitions = await self._producer.partitions_for(self.topics.deadletter)
        await self.send(self.topics.deadletter, partition % len(partitions), outputs)
