"""The workers' consumer group: which member owns which partition, as Kafka says."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, for_code

from api.adapters.dependency import describe
from schemas.settings import Settings

ASK_SECONDS: Final = 4.0
"""How long Kafka may take to answer, connecting included."""
CLOSE_SECONDS: Final = 2.0
KEPT_SECONDS: Final = 2.0
"""How long an answer is used again, so that a flood of requests asks Kafka rarely."""
_CANNOT: Final = "this broker cannot say who is in a group (the embedded broker cannot)"


class Owner(NamedTuple):
    """A member of the group: its id, the name of its client, and its address as the broker sees it."""

    member: str
    client: str
    host: str


class Owners(NamedTuple):
    """The owners of partitions.

    Attributes:
        by_partition: those that Kafka names.
        unknown: why Kafka does not say; None if it does.
        settled: whether the group is not sharing out its partitions at present.
    """

    by_partition: dict[int, Owner]
    unknown: str | None = None
    settled: bool = True


class Group(Protocol):
    """Says who owns the partitions."""

    async def owners(self) -> Owners:
        """Return the owners."""
        ...


class KafkaGroup:
    """The group of an installation. One request to Kafka is under way at a time, for all who ask meanwhile.

    Args:
        group: its name.
        topic: the events topic.
        connect: makes an administrative client, not yet started.
        now: monotonic, in seconds.
    """

    def __init__(
        self, group: str, topic: str, connect: Callable[[], Any], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._group = group
        self._topic = topic
        self._connect = connect
        self._now = now
        self._turn = asyncio.Lock()
        self._answer = Owners({})
        self._answered_at = float("-inf")

    @classmethod
    def of(cls, settings: Settings) -> "KafkaGroup":
        """Return the group that the settings name; nothing connects before it is asked for."""
        return cls(
            settings.consumer_group,
            settings.topics.events,
            lambda: AIOKafkaAdminClient(**settings.kafka_client(), request_timeout_ms=round(ASK_SECONDS * 1000)),
        )

    async def owners(self) -> Owners:
        """Return the owners, at most `KEPT_SECONDS` old."""
        async with self._turn:
            if self._now() - self._answered_at >= KEPT_SECONDS:
                self._answer = await self._ask()
                self._answered_at = self._now()
            return self._answer

    async def _ask(self) -> Owners:
        admin = self._connect()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await admin.start()
                [answer] = await admin.describe_consumer_groups([self._group])
            code, _, state, _, _, members, *_ = answer.groups[0]
            if code:
                raise for_code(code)
        except IncompatibleBrokerVersion:
            return Owners({}, _CANNOT)
        except TimeoutError:
            return Owners({}, f"Kafka did not say within {ASK_SECONDS:g} s who is in group {self._group}")
        except (KafkaError, OSError) as error:
            return Owners({}, f"Kafka does not say who is in group {self._group}: {describe(error)}")
        finally:
            await _close(admin)
        return Owners(self._owned(members), None, state in ("Stable", "Empty", "Dead"))

    def _owned(self, members: Iterable[tuple[Any, ...]]) -> dict[int, Owner]:
        owners: dict[int, Owner] = {}
        for member, client, host, _, assignment, *_ in members:
            for partition in _partitions(assignment, self._topic):
                owners[partition] = Owner(member, client, host.removeprefix("/"))
        return owners


def _partitions(assignment: bytes, topic: str) -> list[int]:
    """Return the partitions of a topic in a member's assignment. During a rebalance it is empty."""
    if not assignment:
        return []
    try:
        parsed = ConsumerProtocolMemberAssignment.decode(assignment)
    except (ValueError, IndexError):
        return []
    return [partition for name, partitions in parsed.assignment if name == topic for partition in partitions]


async def _close(admin: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await admin.close()
    except (KafkaError, OSError, TimeoutError):
        # The answer is there, or the reason why there is none. The connection ends with the process.
        return
