"""Writes the new partitions: the marker of each log, states, audit rows, and last of all Redis."""

import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

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
_OTHER: Final = "name another --topic-prefix and --redis-prefix"


class Standing(NamedTuple):
    """How far a new partition is.

    Attributes:
        next: `next` of its progress: None if nothing has been written, negative while it is unfinished.
    """

    next: int | None

    @property
    def written(self) -> bool:
        """Whether an earlier run of the move has written it."""
        return self.next is not None and self.next >= 0


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
        standing = Standing(await self._store.mark(number))
        if standing.written:
            if (standing.next, *events) != (MARKER + 1, MARKER + 1, MARKER + 1):
                raise RefusedError(f"new partition {number} is in use: its log and its progress have gone on; {_OTHER}")
        elif events.end:
            await self._require_marker(number, events)
        return standing

    async def hold(self, standings: Mapping[int, Standing]) -> dict[int, int]:
        """Mark partitions as unfinished, so that no lane starts on any of them, and send the marker of each log.

        Returns:
            The marks.

        Raises:
            RefusedError: if one was used since its standing was read.
            OutputError: if Kafka does not answer.
            StoreError: if Redis does not answer.
        """
        marks = {number: -1 - secrets.randbits(_MARK_BITS) for number in standings}
        for number, mark in marks.items():
            if not await self._store.clear(number, standings[number].next, mark):
                raise RefusedError(f"new partition {number} was used while it was made; is a worker started there?")
        ranges = await self._topics.ranges()
        for number in marks:
            events = ranges.events[number]
            if events.end == 0:
                sent = [Output(None, self._marker())]
                end = await self._outputs.send(self._settings.topics.events, number, sent)
                events = OffsetRange(0, MARKER + 1 if end is None else end)
            await self._require_marker(number, events)
        return marks

    async def _require_marker(self, number: int, events: OffsetRange) -> None:
        """Require that a log has the marker alone, or nothing more since the marker was removed.

        Raises:
            RefusedError: if another program has written to it.
        """
        if events.start <= MARKER:
            read = self._topics.events(number, *events)
            values = [record.value async for page in read for record in page] if events.end == MARKER + 1 else []
            if values != [self._marker()]:
                raise RefusedError(
                    f"the events of new partition {number} are those of somebody else: stop what writes to "
                    f"{self._settings.topics.events}, and {_OTHER}"
                )
        if events.end != MARKER + 1:
            raise RefusedError(f"the events topic of new partition {number} was used before; {_OTHER}")

    async def write(self, content: PartitionContent, mark: int) -> None:
        """Write a partition that is held under a mark. After an interruption it is written from the beginning.

        Raises:
            RefusedError: if another program has written to its log. Nothing of that is removed.
            MovedError: if another program has used its keys.
            OutputError: if Kafka does not answer.
            StoreError: if Redis does not answer.
        """
        names, number = self._settings.topics, content.partition
        ranges = await self._topics.ranges()
        events = ranges.events[number]
        # Looked at again: what came since `hold` must neither be removed nor be left out.
        await self._require_marker(number, events)
        if events.start <= MARKER:
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
