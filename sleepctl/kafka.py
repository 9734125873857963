"""Kafka, as a log that the command line writes to."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from schemas.cloudevents import STRUCTURED_HEADERS
from schemas.errors import describe
from schemas.settings import Settings
from sleepctl.errors import CommandError

_ANSWER_MS: Final = 10_000


def unreachable(settings: Settings, error: KafkaError | OSError) -> CommandError:
    """Return the failure to tell where Kafka could not be reached."""
    told = f"Kafka at {settings.kafka_bootstrap} does not answer"
    # What aiokafka says then is a list of its own addresses, with Python's names for them.
    if isinstance(error, KafkaConnectionError):
        return CommandError(f"{told}; is it running, and are SLEEP_KAFKA_BOOTSTRAP and its security settings right?")
    return CommandError(f"{told}: {describe(error)}")


class KafkaLog:
    """Kafka through aiokafka, for use in `async with`.

    Args:
        settings: where the brokers are and how to speak to them.
        producer: makes the producer; tests give their own.
    """

    def __init__(self, settings: Settings, producer: Callable[..., Any] = AIOKafkaProducer) -> None:
        self._settings = settings
        self._make = producer
        self._producer: Any = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            CommandError: if no broker answers.
        """
        try:
            self._producer = self._make(
                **self._settings.kafka_client(),
                client_id="sleepctl",
                acks="all",
                enable_idempotence=True,
                request_timeout_ms=_ANSWER_MS,
            )
            await self._producer.start()
        except (KafkaError, OSError) as error:
            await self._stop()
            raise unreachable(self._settings, error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is under way and disconnect."""
        await self._stop()

    async def _stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; see `records.Log`."""
        # All topics are listed: asking for one by name can make it, with the broker's defaults.
        try:
            found = (await self._producer.client.fetch_all_metadata()).partitions_for_topic(topic)
        except KafkaError as error:
            raise CommandError(f"Kafka does not list its topics: {describe(error)}") from None
        if not found:
            raise CommandError(f"there is no topic {topic}; `sleepctl topics create` makes it")
        return len(found)

    async def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        """Append a record; see `records.Log`."""
        try:
            done = await self._producer.send_and_wait(
                topic, value, key=key, partition=partition, headers=list(STRUCTURED_HEADERS)
            )
        except KafkaError as error:
            raise CommandError(f"{topic} partition {partition} did not take the record: {describe(error)}") from None
        return int(done.offset)
