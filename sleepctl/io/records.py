"""The log to which the command line writes, as a protocol."""

from typing import Final, Protocol

SOURCE: Final = "urn:somabrain-sleep:sleepctl"
"""The `source` of the CloudEvents that `sleepctl` makes."""


class Log(Protocol):
    """Topics that take records."""

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has.

        Raises:
            CommandError: if the topic does not exist.
        """
        ...

    async def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        """Append a structured CloudEvent, and return its offset after the acknowledgement.

        Raises:
            CommandError: if it was not acknowledged.
        """
        ...
