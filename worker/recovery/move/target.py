"""Writes the new partitions: the marker of each log, states, audit rows, and last of all Redis."""

import secrets
from enum import Enum
from typing import Any, Final

from pydantic_core import to_json

from schemas.names import rules_key
from schemas.settings import Settings
from schemas.wire.state_record import POSITION_HEADER
from worker.adapters.kafka_producer import KafkaOutputs
from worker.adapters.kafka_topics import TopicAdmin
from worker.adapters.redis_store import LaneStore
from worker.adapters.topic_reader import OffsetRange
from worker.ports import Output
from worker.recovery.errors import RefusedError
from worker.recovery.move.content import MARKER
from worker.recovery.partition_content import PartitionContent
from worker.recovery.restore import restore
from worker.recovery.topics import RecoveryTopics

MARKER_TYPE: Final = "sleep.moved.v1"
"""The type of the marker. No lane reads it: it is removed before any lane may start."""
_MARK_BITS: Final = 52
_AT_ONCE: Final = 2_000
_RULES: Final = rules_key(0)[:-1].encode()


class Standing(Enum):
    """How far a new partition is."""

    NOT_BEGUN = "not begun"
    UNFINISHED = "unfinished"
    WRITTEN = "written"


class Target:
    """The new installation.

    Args:
        settings: name it.
        topics: its topics.
        store: its Redis.
        outputs: its producer.
        admin: an administrator of its topics.
        origin: the old topics' prefix, which the markers name.
    """

    def __init__(
        self,
        settings: Settings,
        topics: RecoveryTopics,
        store: LaneStore,
        outputs: KafkaOutputs,
        admin: TopicAdmin,
        origin: str,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._store = store
        self._outputs = outputs
        self._admin = admin
        self._origin = origin

    async def standings(self) -> list[Standing]:
        """Return how far each partition is.

        Raises:
            RefusedError: if another program, or a worker, has used the new topics or keys.
            RecoveryError: if Redis does not answer, or a topic has another number of partitions.
        """
        ranges = await self._topics.ranges()
        return [await self._standing(number, ranges.events[number]) for number in range(self._settings.partitions)]

    async def _standing(self, number: int, events: OffsetRange) -> Standing:
        next_ = await self._store.mark(number)
        other = "name another --topic-prefix and --redis-prefix"
        if next_ is not None and next_ >= 0:
            if (next_, *events) != (MARKER + 1, MARKER + 1, MARKER + 1):
                raise RefusedError(f"new partition {number} is in use: its log and its progress have gone on; {other}")
            return Standing.WRITTEN
        async for page in self._topics.events(number, *events):
            if events.end != MARKER + 1 or any(record.value != self._marker() for record in page):
                raise RefusedError(f"the events of new partition {number} are those of somebody else; {other}")
        if events.end > MARKER + 1:
            raise RefusedError(f"the events topic of new partition {number} was used before; {other}")
        return Standing.NOT_BEGUN if next_ is None else Standing.UNFINISHED

    async def hold(self, numbers: list[int]) -> dict[int, int]:
        """Mark partitions as unfinished, so that no lane starts on any of them; return the marks.

        Raises:
            RefusedError: if one was used meanwhile.
        """
        marks = {number: -1 - secrets.randbits(_MARK_BITS) for number in numbers}
        for number, mark in marks.items():
            if not await self._store.clear(number, await self._store.mark(number), mark):
                raise RefusedError(f"new partition {number} was used while it was made; is a worker started there?")
        return marks

    async def write(self, content: PartitionContent, mark: int) -> None:
        """Write a partition that is held under a mark. After an interruption it is written from the beginning.

        Raises:
            MovedError: if another program has used it.
            OutputError: if Kafka does not answer.
            StoreError: if Redis does not answer.
        """
        names, number = self._settings.topics, content.partition
        ranges = await self._topics.ranges()
        if ranges.events[number].end == 0:
            await self._outputs.send(names.events, number, [Output(None, self._marker())])
        if ranges.events[number].start <= MARKER:
            await self._admin.remove_events(number, MARKER + 1)
        gone = await self._gone(content, ranges.states[number])
        end = await self._send(names.states, number, [*content.states, *gone])
        await self._send(names.transitions, number, content.transitions)
        end = ranges.states[number].end if end is None else end
        await restore(self._store, content, expected=mark, mark=mark, end=end)

    async def _send(self, topic: str, number: int, outputs: list[Output]) -> int | None:
        end: int | None = None
        for first in range(0, len(outputs), _AT_ONCE):
            end = await self._outputs.send(topic, number, outputs[first : first + _AT_ONCE])
        return end

    async def _gone(self, content: PartitionContent, states: OffsetRange) -> list[Output]:
        """Return tombstones for tenants that an earlier, interrupted move has published, and that are gone."""
        keys: set[bytes] = set()
        async for page in self._topics.reader.read(self._settings.topics.states, content.partition, *states):
            keys |= {record.key for record in page if record.key is not None}
        position: Any = ((POSITION_HEADER, f"{content.partition}:{MARKER}".encode()),)
        rules = {key for key in keys if key.startswith(_RULES)}
        if len(rules) > len(content.rules) - 1:
            raise RefusedError(
                "an interrupted move has published other rules; name another --topic-prefix and --redis-prefix"
            )
        present = {tenant.encode() for tenant in content.records}
        return [Output(key, None, position) for key in sorted(keys - rules - present)]

    def _marker(self) -> bytes:
        return to_json(
            {
                "specversion": "1.0",
                "type": MARKER_TYPE,
                "id": "moved",
                "source": self._origin,
                "data": {"partitions": self._settings.partitions},
            }
        )
