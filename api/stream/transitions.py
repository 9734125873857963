"""The transitions topic: its records as streams need them, and a reader of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.stream import sse
from schemas.settings import Settings

CONNECT_SECONDS: Final = 4.0
ASK_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 2.0
PAGE_RECORDS: Final = 500
LOST: Final = (KafkaError, OSError, TimeoutError)
"""What a broken connection to Kafka looks like."""

log = structlog.get_logger(__name__)


class Place(NamedTuple):
    """Where a transition is in the partition's history: the event's offset, and the row within the event."""

    event: int
    nth: int


class Row(NamedTuple):
    """A record of the topic; `body` is empty where it is not a transition, and then streams do not show it."""

    partition: int
    offset: int
    place: Place
    tenant: str
    id_line: bytes
    body: bytes


class Bounds(NamedTuple):
    """A partition's first offset that is still kept, and its end."""

    start: int
    end: int


class _Head(BaseModel):
    """What is read of a record; the rest goes through as it is."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    id: str = Field(pattern=r"^[0-9]{1,9}:[0-9]{1,19}:[0-9]{1,9}$")
    kind: str
    tenant: str


def parse(partition: int, offset: int, value: bytes | None) -> Row:
    """Return a record as streams need it; one that is not ours is logged, and is nobody's."""
    try:
        head = _Head.model_validate_json(value or b"")
        named, event, index = map(int, head.id.split(":"))
        if named != partition:
            raise ValueError(f"its id is of partition {named}")  # noqa: TRY301 - both are the same to the log
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        log.warning("transition_unreadable", partition=partition, offset=offset, error=reason)
        return Row(partition, offset, Place(-1, -1), "", b"", b"")
    body = sse.body("transition", value or b"") if head.kind == "transition" else b""
    return Row(partition, offset, Place(event, index), head.tenant, sse.id_line(f"{offset}/{head.id}"), body)


class Reader(Protocol):
    """One connection to the topic. Every method may raise one of `LOST`."""

    async def bounds(self, partitions: Iterable[int]) -> dict[int, Bounds]:
        """Return what there is of these partitions."""
        ...

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions, each from an offset, and no other."""
        ...

    async def page(self, seconds: float) -> list[Row]:
        """Return the next records, in order within each partition; none if none came in time."""
        ...


OpenReader = Callable[[], AbstractAsyncContextManager[Reader]]


class MissingTopicError(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The topic does not exist, or has another number of partitions."""


class KafkaReader:
    """The topic through an aiokafka consumer without a group."""

    def __init__(self, consumer: Any, topic: str) -> None:  # noqa: ANN401 - aiokafka has no types
        self._consumer = consumer
        self._topic = topic

    def _at(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in partitions]

    async def check(self, partitions: int) -> None:
        """Go on only if the topic has that many partitions.

        All topics are listed: asking for one by name can make it, as the broker likes.

        Raises:
            MissingTopicError: if it has not.
        """
        listed = await self._consumer._client.fetch_all_metadata()  # noqa: SLF001 - nothing public counts them
        found = len(listed.partitions_for_topic(self._topic) or ())
        if found == 0:
            raise MissingTopicError(f"the topic {self._topic} does not exist; run `sleepctl topics create`")
        if found != partitions:
            raise MissingTopicError(
                f"the topic {self._topic} has {found} partitions and SLEEP_PARTITIONS is {partitions}"
            )

    async def bounds(self, partitions: Iterable[int]) -> dict[int, Bounds]:
        """Return what there is of these partitions."""
        at = self._at(partitions)
        async with asyncio.timeout(ASK_SECONDS):
            starts = await self._consumer.beginning_offsets(at)
            ends = await self._consumer.end_offsets(at)
        return {found.partition: Bounds(starts[found], ends[found]) for found in at}

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions, each from an offset, and no other."""
        self._consumer.assign(self._at(offsets))
        for partition, offset in offsets.items():
            self._consumer.seek(TopicPartition(self._topic, partition), offset)

    async def page(self, seconds: float) -> list[Row]:
        """Return the next records, at most `PAGE_RECORDS`."""
        found = await self._consumer.getmany(timeout_ms=round(seconds * 1000), max_records=PAGE_RECORDS)
        return [parse(record.partition, record.offset, record.value) for page in found.values() for record in page]


def opener(settings: Settings) -> OpenReader:
    """Return what connects to the installation's transitions, for as long as its block lasts."""

    @asynccontextmanager
    async def open_reader() -> AsyncIterator[Reader]:
        # No offset is ever reset behind our back: a hole in the log is for a person, or a `reset`.
        consumer = AIOKafkaConsumer(
            **settings.kafka_client(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_uncommitted",
            fetch_max_wait_ms=100,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await consumer.start()
                reader = KafkaReader(consumer, settings.topics.transitions)
                await reader.check(settings.partitions)
            yield reader
        finally:
            with suppress(*LOST):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await consumer.stop()

    return open_reader
