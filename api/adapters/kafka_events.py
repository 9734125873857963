"""The events topic for the API: publishes commands and breaker events, and reads where each partition ends."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, TopicAuthorizationFailedError

from api.adapters.dependency import Dependency, UnavailableError, describe
from api.commands.log_time import LogTime
from api.errors.base import ApiError
from schemas.clock_skew import broker_time
from schemas.kafka.topic_check import TopicHealth, judge_topics
from schemas.names import Topics
from schemas.running_timeout import running_timeout
from schemas.settings import Settings
from schemas.tasks import await_done
from schemas.wire.cloudevents import STRUCTURED_HEADERS

PRODUCE_SECONDS: Final = 4.0
CONNECT_SECONDS: Final = 4.0
PROBE_SECONDS: Final = 2.0
"""Seconds between two requests for the topic's metadata, and the timeout of one."""
CLOSE_SECONDS: Final = 2.0
BATCH_BYTES: Final = 524_288
"""Largest record batch. The smallest events in an HTTP body of 64 KiB grow to less. Brokers take twice as much."""

_HEADERS: Final = list(STRUCTURED_HEADERS)  # aiokafka requires a list
# The broker refuses before it appends anything.
_REFUSED: Final = (MessageSizeTooLargeError, TopicAuthorizationFailedError)


class OutcomeUnknownError(ApiError):
    """A record was sent and not acknowledged: it may or may not be in the log."""


class EventRecord(NamedTuple):
    """A record for the log."""

    key: bytes
    value: bytes


class EventsLog(Protocol):
    """Publishes on the events topic."""

    def require(self) -> None:
        """Raise UnavailableError if the last attempt to publish, or the last look at the topic, failed."""
        ...

    async def publish(self, partition: int, key: bytes, value: bytes) -> int | None:
        """Publish a record and return its offset, or None where the broker gave none.

        Raises:
            UnavailableError: if nothing was published.
            OutcomeUnknownError: if it is unknown whether the record was published.
        """
        ...

    async def publish_all(self, batches: Mapping[int, Sequence[EventRecord]]) -> None:
        """Publish records by partition, in order. The records of one partition are appended atomically.

        Raises:
            UnavailableError: if nothing was published.
            OutcomeUnknownError: if the outcome is unknown, or only some partitions were appended to.
        """
        ...


class BrokenProducerError(ApiError):
    """The producer cannot publish any more. A new producer must replace it."""


Factory = Callable[[], Any]


class KafkaEvents:
    """The events topic through aiokafka.

    One idempotent producer is kept through outages. It is replaced only after an error that it cannot recover from.
    Records that were sent before an outage may still arrive after it. Their `not_after` limits how late.

    Args:
        topics: the topics of the installation.
        partitions: the number of partitions that each must have.
        producer: makes a producer, not yet started.
        consumer: makes a consumer without a group, which only reads the ends of partitions.
        dependency: is marked up or down as publishing works.
        log_time: gets the time of each acknowledgement.
    """

    lost = (KafkaError, OSError, TimeoutError, BrokenProducerError)

    def __init__(
        self,
        topics: Topics,
        partitions: int,
        producer: Factory,
        consumer: Factory,
        dependency: Dependency,
        log_time: LogTime,
    ) -> None:
        self._topics = topics
        self._topic = topics.events
        self._states = topics.states
        self.health = TopicHealth({}, {})
        self._partitions = partitions
        self._make_producer = producer
        self._make_consumer = consumer
        self._dependency = dependency
        self._log_time = log_time
        self._producer: Any = None
        self._consumer: Any = None
        self._broken: str | None = None
        self._look = asyncio.Event()

    @classmethod
    def of(cls, settings: Settings, dependency: Dependency, log_time: LogTime) -> "KafkaEvents":
        """Return the topic that the settings name; nothing connects before `run`."""

        def producer() -> AIOKafkaProducer:
            return AIOKafkaProducer(
                **settings.kafka_client(),
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                request_timeout_ms=round(PRODUCE_SECONDS * 1000),
                max_batch_size=BATCH_BYTES,
            )

        def consumer() -> AIOKafkaConsumer:
            return AIOKafkaConsumer(**settings.kafka_client(), group_id=None, enable_auto_commit=False)

        return cls(settings.topics, settings.partitions, producer, consumer, dependency, log_time)

    def require(self) -> None:
        """Require that publishing worked at the last look; see `EventsLog`."""
        self._dependency.require()

    async def publish(self, partition: int, key: bytes, value: bytes) -> int | None:
        """Publish within `PRODUCE_SECONDS`; see `EventsLog`."""
        self.require()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PRODUCE_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                acked: asyncio.Future[Any] = await self._producer.send(
                    self._topic, value, key=key, partition=partition, headers=_HEADERS
                )
        except (KafkaError, TimeoutError) as error:
            self._doubt(error)
            raise UnavailableError(self._dependency.name, describe(error)) from error
        await await_done(acked, deadline - loop.time())
        if (failure := self._failure(acked)) is not None:
            raise failure
        offset: int = acked.result().offset
        return offset if offset >= 0 else None

    async def publish_all(self, batches: Mapping[int, Sequence[EventRecord]]) -> None:
        """Publish one record batch per partition within `PRODUCE_SECONDS`; see `EventsLog`."""
        self.require()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PRODUCE_SECONDS
        acks: list[asyncio.Future[Any]] = []
        failures: list[UnavailableError | OutcomeUnknownError] = []
        try:
            built = {partition: self._batch(records) for partition, records in batches.items()}
            async with asyncio.timeout_at(deadline):
                for partition, batch in built.items():
                    acks.append(await self._producer.send_batch(batch, self._topic, partition=partition))
        except (KafkaError, TimeoutError) as error:
            self._doubt(error)
            failures.append(UnavailableError(self._dependency.name, describe(error)))
        if acks:
            await asyncio.wait(acks, timeout=max(0.0, deadline - loop.time()))
        failures += (failure for acked in acks if (failure := self._failure(acked)) is not None)
        if not failures:
            return
        appended = len(acks) - sum(acked.done() and acked.exception() is not None for acked in acks)
        if appended and not isinstance(failures[0], OutcomeUnknownError):
            raise OutcomeUnknownError(
                f"{appended} of {len(batches)} partitions were appended to: {failures[0].finding}"
            )
        raise next((failure for failure in failures if isinstance(failure, OutcomeUnknownError)), failures[0])

    def _batch(self, records: Sequence[EventRecord]) -> Any:  # noqa: ANN401 - aiokafka has no types
        batch = self._producer.create_batch()
        for record in records:
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=_HEADERS) is None:
                msg = f"{len(records)} records make a batch of more than {BATCH_BYTES} bytes"
                raise MessageSizeTooLargeError(msg)
        batch.close()
        return batch

    def _failure(self, acked: "asyncio.Future[Any]") -> UnavailableError | OutcomeUnknownError | None:
        """Return why a sent record is not known to be in the log, None if it is there."""
        if not acked.done():
            acked.add_done_callback(_forget)
            self._doubt(None)
            return OutcomeUnknownError(f"no ack within {PRODUCE_SECONDS:g} s")
        failure = acked.exception()
        if failure is None:
            ack = acked.result()
            self._log_time.acknowledged(ack.partition, broker_time(ack.timestamp, ack.timestamp_type))
            return None
        self._doubt(failure)
        if isinstance(failure, _REFUSED):
            return UnavailableError(self._dependency.name, describe(failure))
        return OutcomeUnknownError(describe(failure))

    async def ends(self) -> dict[int, int]:
        """Return the end offset of each partition.

        Raises:
            UnavailableError: if Kafka does not answer.
        """
        self.require()
        partitions = [TopicPartition(self._topic, number) for number in range(self._partitions)]
        try:
            async with running_timeout(PROBE_SECONDS):
                ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        except (KafkaError, TimeoutError) as error:
            raise UnavailableError(self._dependency.name, describe(error)) from error
        return {topic_partition.partition: end for topic_partition, end in ends.items()}

    async def untouched(self, partition: int) -> bool:
        """Tell whether a partition has no published state, and its log still starts at offset 0.

        Raises:
            UnavailableError: if Kafka does not answer.
        """
        self.require()
        events, states = TopicPartition(self._topic, partition), TopicPartition(self._states, partition)
        try:
            async with running_timeout(PROBE_SECONDS):
                starts: dict[TopicPartition, int] = await self._consumer.beginning_offsets([events])
                ends: dict[TopicPartition, int] = await self._consumer.end_offsets([states])
        except (KafkaError, TimeoutError) as error:
            raise UnavailableError(self._dependency.name, describe(error)) from error
        return starts[events] == 0 and ends[states] == 0

    def _doubt(self, error: BaseException | None) -> None:
        """Request a look at the metadata, and a new producer after a permanent error."""
        if isinstance(error, KafkaError) and not error.retriable and not isinstance(error, _REFUSED):
            self._broken = describe(error)
        self._look.set()

    async def run(self) -> NoReturn:
        """Connect, and look at the topic every `PROBE_SECONDS` until the producer breaks; for `dependency.keep`."""
        self._broken = None
        self._producer, self._consumer = self._make_producer(), self._make_consumer()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._producer.start()
                await self._consumer.start()
            while self._broken is None:
                await self._examine()
                await self._until_next_look()
            raise BrokenProducerError(self._broken)
        finally:
            await asyncio.gather(_close_producer(self._producer), _close(self._consumer.stop))

    async def _examine(self) -> None:
        try:
            async with running_timeout(PROBE_SECONDS):
                counts = await self._counts()
        except TimeoutError:
            self._dependency.mark_down(f"no broker answers a request for metadata within {PROBE_SECONDS:g} s")
            return
        except KafkaError as error:
            self._dependency.mark_down(describe(error))
            return
        self.health = judge_topics(self._topics, self._partitions, counts)
        if (finding := self.health.bad.get(self._topic)) is None:
            self._dependency.mark_up(f"{self._topic} has {self._partitions} partitions")
        else:
            self._dependency.mark_down(finding)

    async def _counts(self) -> dict[str, int]:
        """Return the number of partitions of each topic of the installation, 0 for a missing topic.

        All topics are listed: to ask an old broker for one by name can create it.
        """
        client = self._producer.client
        listed = await client.fetch_all_metadata()
        counts = {topic: len(listed.partitions_for_topic(topic) or ()) for topic in self._topics}
        if counts[self._topic]:
            # The producer's own metadata may be old or still empty.
            await client.set_topics([self._topic])
            if not await client.force_metadata_update():
                msg = "no broker answers a request for metadata"
                raise KafkaError(msg)
        return counts

    async def _until_next_look(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PROBE_SECONDS):
                await self._look.wait()
        self._look.clear()


def _forget(future: "asyncio.Future[Any]") -> None:
    """Retrieve a late result, so that asyncio does not report an exception that was never retrieved."""
    if not future.cancelled():
        future.exception()


async def _close(stop: Callable[[], Awaitable[None]]) -> bool:
    """Stop a client, and return whether it stopped in time."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await stop()
    except (KafkaError, OSError, TimeoutError):
        return False
    return True


async def _close_producer(producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Stop a producer. Where `stop` still waits for batches in flight after `CLOSE_SECONDS`, end its sender."""
    if not await _close(producer.stop):
        await _close(producer._sender.close)  # noqa: SLF001 - nothing public ends the task
        await _close(producer.client.close)
