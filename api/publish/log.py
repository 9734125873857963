"""The events topic, as the API sees it: publishes commands, knows where each partition ends."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, TopicAuthorizationFailedError

from api.operate.dependency import Dependency, UnavailableError, describe
from schemas.cloudevents import STRUCTURED_HEADERS
from schemas.settings import Settings

PRODUCE_SECONDS: Final = 4.0
CONNECT_SECONDS: Final = 4.0
PROBE_SECONDS: Final = 2.0
"""How often the brokers are asked for the topic's metadata, and how long they may take."""
CLOSE_SECONDS: Final = 2.0
BATCH_BYTES: Final = 524_288
"""Largest record batch: an HTTP body of 64 KiB, of the smallest events, grows to less; brokers take twice as much."""

_HEADERS: Final = list(STRUCTURED_HEADERS)  # aiokafka takes nothing but a list
# The broker said no before it appended anything.
_REFUSED: Final = (MessageSizeTooLargeError, TopicAuthorizationFailedError)


class OutcomeUnknownError(Exception):
    """The record was handed over and no ack came: it may or may not be in the log."""


class Published(NamedTuple):
    """A record for the log."""

    key: bytes
    value: bytes


class EventsLog(Protocol):
    """Publishes on the events topic."""

    def require(self) -> None:
        """Raise UnavailableError where publishing is known not to work at present."""
        ...

    async def publish(self, partition: int, key: bytes, value: bytes) -> int | None:
        """Publish a record and return its offset, or None where the broker gave none.

        Raises:
            UnavailableError: if nothing was published.
            OutcomeUnknownError: if nobody can tell.
        """
        ...

    async def publish_all(self, batches: Mapping[int, Sequence[Published]]) -> None:
        """Publish records by partition, in order; those of one partition are appended whole.

        Raises:
            UnavailableError: if nothing was published.
            OutcomeUnknownError: if nobody can tell, or only some partitions took theirs.
        """
        ...


class BrokenProducerError(Exception):
    """The producer will never publish again; a new one must take its place."""


Factory = Callable[[], Any]


class KafkaEvents:
    """The events topic through aiokafka.

    One idempotent producer lives through outages; it is replaced only when it can never work again. Records
    that were handed over before an outage may still arrive after it: their `not_after` bounds what that does.

    Args:
        topic: the events topic.
        states: the states topic.
        partitions: how many partitions it must have.
        producer: makes a producer, not yet started.
        consumer: makes a consumer without a group, which only reads where partitions end.
        dependency: told whether publishing works.
    """

    lost = (KafkaError, OSError, TimeoutError, BrokenProducerError)

    def __init__(
        self, topic: str, states: str, partitions: int, producer: Factory, consumer: Factory, dependency: Dependency
    ) -> None:
        self._topic = topic
        self._states = states
        self._partitions = partitions
        self._make_producer = producer
        self._make_consumer = consumer
        self._dependency = dependency
        self._producer: Any = None
        self._consumer: Any = None
        self._broken: str | None = None
        self._look = asyncio.Event()

    @classmethod
    def of(cls, settings: Settings, dependency: Dependency) -> "KafkaEvents":
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

        return cls(settings.topics.events, settings.topics.states, settings.partitions, producer, consumer, dependency)

    def require(self) -> None:
        """Go on only if publishing worked when last looked at; see `EventsLog`."""
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
        await asyncio.wait([acked], timeout=deadline - loop.time())
        if (failure := self._failure(acked)) is not None:
            raise failure
        offset: int = acked.result().offset
        return offset if offset >= 0 else None

    async def publish_all(self, batches: Mapping[int, Sequence[Published]]) -> None:
        """Publish one record batch a partition within `PRODUCE_SECONDS`; see `EventsLog`."""
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
            raise OutcomeUnknownError(f"{appended} of {len(batches)} partitions took their part: {failures[0].finding}")
        raise next((failure for failure in failures if isinstance(failure, OutcomeUnknownError)), failures[0])

    def _batch(self, records: Sequence[Published]) -> Any:  # noqa: ANN401 - aiokafka has no types
        batch = self._producer.create_batch()
        for record in records:
            if batch.append(timestamp=None, key=record.key, value=record.value, headers=_HEADERS) is None:
                msg = f"{len(records)} records make a batch of more than {BATCH_BYTES} bytes"
                raise MessageSizeTooLargeError(msg)
        batch.close()
        return batch

    def _failure(self, acked: "asyncio.Future[Any]") -> UnavailableError | OutcomeUnknownError | None:
        """Return what went wrong with a record that was handed over, None if it is in the log."""
        if not acked.done():
            acked.add_done_callback(_forget)
            self._doubt(None)
            return OutcomeUnknownError(f"no ack within {PRODUCE_SECONDS:g} s")
        failure = acked.exception()
        if failure is None:
            return None
        self._doubt(failure)
        if isinstance(failure, _REFUSED):
            return UnavailableError(self._dependency.name, describe(failure))
        return OutcomeUnknownError(describe(failure))

    async def ends(self) -> dict[int, int]:
        """Return the end offset of each partition.

        Raises:
            UnavailableError: if Kafka does not tell.
        """
        self.require()
        partitions = [TopicPartition(self._topic, number) for number in range(self._partitions)]
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        except (KafkaError, TimeoutError) as error:
            raise UnavailableError(self._dependency.name, describe(error)) from error
        return {found.partition: end for found, end in ends.items()}

    async def untouched(self, partition: int) -> bool:
        """Tell whether no state of a partition was ever published, and its log reaches back to its beginning.

        Raises:
            UnavailableError: if Kafka does not tell.
        """
        self.require()
        events, states = TopicPartition(self._topic, partition), TopicPartition(self._states, partition)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                starts: dict[TopicPartition, int] = await self._consumer.beginning_offsets([events])
                ends: dict[TopicPartition, int] = await self._consumer.end_offsets([states])
        except (KafkaError, TimeoutError) as error:
            raise UnavailableError(self._dependency.name, describe(error)) from error
        return starts[events] == 0 and ends[states] == 0

    def _doubt(self, error: BaseException | None) -> None:
        """Have the metadata looked at soon, or the producer replaced where its error is for good."""
        if isinstance(error, KafkaError) and not error.retriable and not isinstance(error, _REFUSED):
            self._broken = describe(error)
        self._look.set()

    async def run(self) -> NoReturn:
        """Connect, and look at the topic now and then while the producer is good; for `dependency.keep`."""
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
            async with asyncio.timeout(PROBE_SECONDS):
                found = await self._count_partitions()
        except TimeoutError:
            self._dependency.found_down(f"no broker answers a request for metadata within {PROBE_SECONDS:g} s")
            return
        except KafkaError as error:
            self._dependency.found_down(describe(error))
            return
        if found == self._partitions:
            self._dependency.found_up(f"{self._topic} has {found} partitions")
        elif found == 0:
            self._dependency.found_down(f"the topic {self._topic} does not exist; run `sleepctl topics create`")
        else:
            self._dependency.found_down(
                f"the topic {self._topic} has {found} partitions and SLEEP_PARTITIONS is {self._partitions}"
            )

    async def _count_partitions(self) -> int:
        """Return how many partitions the topic has, 0 where there is none.

        All topics are listed until ours is found: asking for one by name can make it, as the broker likes.
        """
        client = self._producer.client
        if client.cluster.partitions_for_topic(self._topic) is None:
            listed = (await client.fetch_all_metadata()).partitions_for_topic(self._topic)
            if listed is None:
                return 0
            await client.set_topics([self._topic])
        elif not await client.force_metadata_update():
            msg = "no broker answers a request for metadata"
            raise KafkaError(msg)
        return len(client.cluster.partitions_for_topic(self._topic) or ())

    async def _until_next_look(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PROBE_SECONDS):
                await self._look.wait()
        self._look.clear()


def _forget(future: "asyncio.Future[Any]") -> None:
    """Look at a late result, so that nobody is told that it was never looked at."""
    if not future.cancelled():
        future.exception()


async def _close(stop: Callable[[], Awaitable[None]]) -> bool:
    """Stop a client; return whether it did in time."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await stop()
    except (KafkaError, OSError, TimeoutError):
        return False
    return True


async def _close_producer(producer: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Stop a producer. `stop` waits for batches that no broker may ever take; then its sender is ended."""
    if not await _close(producer.stop):
        await _close(producer._sender.close)  # noqa: SLF001 - nothing public ends the task
        await _close(producer.client.close)
