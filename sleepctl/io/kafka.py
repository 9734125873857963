"""Kafka, as the log to which the command line writes."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.clock_skew import broker_time
from schemas.errors import describe
from schemas.settings import Settings
from schemas.wire.cloudevents import STRUCTURED_HEADERS
from sleepctl.ui.errors import CommandError
from worker.adapters import topic_reader
from worker.adapters.aiokafka_patches import create_no_topics

_ANSWER_MS: Final = 10_000


class Appended(NamedTuple):
    """The offset of a record, and whether the broker stamped its time, as each but the embedded one does here."""

    offset: int
    stamped: bool


def unreachable(settings: Settings, error: KafkaError | OSError) -> CommandError:
    """Return the error that says that Kafka could not be reached."""
    return CommandError(str(topic_reader.unreachable(settings, error)))


class KafkaLog:
    """A producer, for use in `async with`.

    Args:
        settings: name the brokers and the client's options.
        producer: creates the producer; tests give their own.
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
        create_no_topics()
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
        """Send the pending records, and disconnect."""
        await self._stop()

    async def _stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; see `records.Log`."""
        # Lists all topics: a request for one by name can create it, with the broker's defaults.
        try:
            partitions = (await self._producer.client.fetch_all_metadata()).partitions_for_topic(topic)
        except KafkaError as error:
            raise CommandError(f"Kafka does not list its topics: {describe(error)}") from None
        if not partitions:
            raise CommandError(f"there is no topic {topic}; `sleepctl topics create` creates it")
        return len(partitions)

    async def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        """Append a record; see `records.Log`."""
        return (await self.appended(topic, partition, key, value)).offset

    async def appended(self, topic: str, partition: int, key: bytes | None, value: bytes) -> Appended:
        """Append a structured CloudEvent, and return its place after the acknowledgement.

        Raises:
            CommandError: if it was not acknowledged.
        """
        try:
            done = await self._producer.send_and_wait(
                topic, value, key=key, partition=partition, headers=list(STRUCTURED_HEADERS)
            )
        except KafkaError as error:
            raise CommandError(f"{topic} partition {partition} did not take the record: {describe(error)}") from None
        return Appended(int(done.offset), stamped=broker_time(done.timestamp, done.timestamp_type) is not None)
