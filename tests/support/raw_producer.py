"""A producer of batch_of record batches: what is sent is not checked by any client."""

import asyncio
from collections.abc import Sequence
from typing import Final, Self

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import NoError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition

from schemas.wire.cloudevents import STRUCTURED_HEADERS
from tests.support.installation import Installation
from tests.support.raw_batches import RawBatch, RawRecord, numbered
from tests.support.records import Sent

_HEADERS: Final = [(name.encode(), content) for name, content in STRUCTURED_HEADERS]


def batch_of(*sent: Sent) -> RawBatch:
    """Return a batch of events."""
    assert all(one.tenant for one in sent)
    return RawBatch(numbered([RawRecord(one.value, str(one.tenant).encode(), _HEADERS) for one in sent]))


class RawProducer:
    """Writes batches as they are."""

    def __init__(self, installation: Installation) -> None:
        self._client = AIOKafkaClient(bootstrap_servers=installation.settings.kafka_bootstrap)

    async def __aenter__(self) -> Self:
        await self._client.bootstrap()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def send(self, topic: str, batches: Sequence[bytes], partition: int = 0) -> int:
        """Send batches, and return how many the broker took."""
        await self._client.set_topics([topic])
        await self._client.force_metadata_update()
        leader = self._client.cluster.leader_for_partition(TopicPartition(topic, partition))
        taken = 0
        for batch in batches:
            request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, batch)])])
            taken += await self._send(leader, request)
        return taken

    async def _send(self, leader: int, request: ProduceRequest) -> bool:
        """Tell whether the broker took a batch; a leader of a topic that was just made may not know of it yet."""
        async with asyncio.timeout(30):
            while True:
                answer = await self._client.send(leader, request)
                error = for_code(answer.topics[0][1][0][1])
                if not error.retriable:
                    return error is NoError
                await asyncio.sleep(0.1)
