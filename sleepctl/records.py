"""Records that the command line writes itself, and the topics that take them."""

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from schemas.settings import Settings

SOURCE: Final = "urn:somabrain-sleep:sleepctl"
"""The `source` of our CloudEvents."""


class Log(Protocol):
    """Topics that can be written to."""

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has.

        Raises:
            CommandError: if there is no such topic.
        """
        ...

    async def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        """Append a structured CloudEvent and return its offset once it is safe.

        Raises:
            CommandError: if it was not acknowledged.
        """
        ...


def open_log(settings: Settings) -> AbstractAsyncContextManager[Log]:
    """Return a connection to Kafka, for use in `async with`."""
    from sleepctl.kafka import KafkaLog  # noqa: PLC0415 - Kafka's client is not loaded by commands that do without it

    return KafkaLog(settings)
