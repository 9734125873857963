"""What `sleepctl partitions move` connects to Kafka with, in memory."""

from typing import Self

from schemas.names import Topics
from tests.support.fakes import FakeKafka, FakeOutputs

NEW = Topics.of("sleep3")
"""The new topics."""


class ConnectingOutputs(FakeOutputs):
    """A producer that connects."""

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None


class AdminOfMove:
    """Creates topics by doing nothing, and removes events."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self.created = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def create(self) -> list[str]:
        self.created += 1
        return []

    async def remove_events(self, partition: int, before: int) -> None:
        self._kafka.log(NEW.events, partition).trim(before)
