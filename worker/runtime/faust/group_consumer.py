"""aiokafka's consumer of a group, on the loop of the worker: each call is bounded, and so is its end."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError, KafkaTimeoutError
from faust.types import TP

from schemas.kafka.fetcher import AnyBytesConsumer
from schemas.kafka.source_record import SourceRecord
from schemas.settings import Settings
from schemas.tasks import end_tasks

log = structlog.get_logger("worker.runtime.faust.group_consumer")
# Without a heartbeat for so long, the partitions move. A session shorter than the last piece of a lane would lose the
# partition during it.
_SESSION_MS: Final = 20_000
_REBALANCE_MS: Final = 60_000
_REQUEST_MS: Final = 60_000
# A broker that has just started may not know the topics yet. The leader of the group then assigns no partition until it
# asks again, by default after five minutes.
_METADATA_MS: Final = 5_000
# A partition that does not move is shown in /status. Leaving the group would only move the problem to another worker.
_MAX_POLL_MS: Final = 86_400_000
_FETCHED_RECORDS: Final = 2_000
# A broker has one fetch of this consumer at a time. A partition that was sought meanwhile waits for its end.
_FETCH_MAX_WAIT_MS: Final = 50
CLOSE_SECONDS: Final = 5.0
_ABANDON_SECONDS: Final = 1.0
# aiokafka itself waits for a minute. A lane would wait as long for the bounds of its log, and a stop for a commit.
ANSWER_SECONDS: Final = 10.0


class GroupConsumer:
    """A member of a consumer group, which accepts any bytes that its topics hold.

    Args:
        settings: the address and the security of Kafka.
        group: the name of the consumer group.
    """

    def __init__(self, settings: Settings, group: str) -> None:
        self._settings = settings
        self._name = group
        self._member: AnyBytesConsumer | None = None
        self._commits_fail = False

    @property
    def generation(self) -> int:
        """The number of the group's present assignment."""
        generation: int = self._running._coordinator.generation  # noqa: SLF001 - there is no public way
        return generation

    @property
    def _running(self) -> AnyBytesConsumer:
        if self._member is None:
            raise KafkaError("the consumer is not running")
        return self._member

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: if no broker answers.
        """
        # Before the start, so that a stop closes what a failed start has opened.
        self._member = AnyBytesConsumer(
            **self._settings.kafka_client(),
            client_id="sleep-worker",
            group_id=self._name,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=_FETCHED_RECORDS,
            max_poll_interval_ms=_MAX_POLL_MS,
            fetch_max_wait_ms=_FETCH_MAX_WAIT_MS,
            request_timeout_ms=_REQUEST_MS,
            session_timeout_ms=_SESSION_MS,
            rebalance_timeout_ms=_REBALANCE_MS,
            metadata_max_age_ms=_METADATA_MS,
        )
        await self._member.start()

    def subscribe(self, topics: Iterable[str], listener: ConsumerRebalanceListener) -> None:
        """Join the group for these topics; `listener` is told of each rebalance."""
        self._running.subscribe(topics=set(topics), listener=listener)

    def assignment(self) -> set[TP]:
        """Return the partitions that are assigned to this consumer, none before its start."""
        return set() if self._member is None else {TP(*tp) for tp in self._member.assignment()}

    async def seek_and_fetch(
        self, seeks: Mapping[TP, int], partitions: Iterable[TP], seconds: float
    ) -> Mapping[TP, Sequence[SourceRecord]]:
        """Seek, then fetch from these partitions, at least one, for at most `seconds`.

        All seeks are done before this method first waits. So a caller that is cancelled has lost none.
        """
        consumer = self._running
        # A rebalance may have revoked a partition meanwhile. Its lane is gone too.
        assigned = consumer.assignment()
        for partition, offset in seeks.items():
            if (tp := TopicPartition(*partition)) in assigned:
                consumer.seek(tp, offset)
        records: Mapping[TopicPartition, Sequence[SourceRecord]] = await consumer.getmany(
            *(TopicPartition(*tp) for tp in partitions), timeout_ms=int(1000 * seconds)
        )
        return {TP(*tp): fetched for tp, fetched in records.items()}

    async def committed(self, tp: TP) -> int | None:
        """Return the offset that the group has committed of a partition, None if it has committed none.

        Raises:
            KafkaError: if Kafka does not answer in time.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                offset: int | None = await self._running.committed(TopicPartition(*tp))
                return offset
        except TimeoutError:
            raise KafkaTimeoutError(f"no offset of {tp.topic} {tp.partition} within {ANSWER_SECONDS:g} s") from None

    async def offset_range(self, tp: TP) -> tuple[int, int]:
        """Return the first offset and the end of a partition.

        Raises:
            KafkaError: if Kafka does not answer in time.
        """
        consumer, at = self._running, TopicPartition(*tp)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                starts = await consumer.beginning_offsets([at])
                ends = await consumer.end_offsets([at])
        except TimeoutError:
            raise KafkaTimeoutError(
                f"no offset range of {tp.topic} {tp.partition} within {ANSWER_SECONDS:g} s"
            ) from None
        return starts[at], ends[at]

    def refused_topics(self) -> frozenset[str]:
        """Return the topics that Kafka did not describe to this user when metadata were last read."""
        consumer = self._member
        return frozenset() if consumer is None else frozenset(consumer._client.cluster.unauthorized_topics)  # noqa: SLF001 - there is no public way

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets of assigned partitions for the group, and tell whether Kafka has them.

        After a failure only the lag is stale, since Redis decides where lanes start.
        """
        consumer = self._running
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await consumer.commit({TopicPartition(*tp): offset for tp, offset in offsets.items()})
        except (KafkaError, TimeoutError) as error:
            if not self._commits_fail:
                log.warning("group_offset_not_committed", error=str(error) or f"no answer in {ANSWER_SECONDS:g} s")
            self._commits_fail = True
            return False
        self._commits_fail = False
        return True

    async def stop(self) -> None:
        """Leave the group and disconnect, in bounded time. An unreachable broker learns it from the session's end.

        If the broker is unreachable, `stop` of aiokafka's fetcher raises the cancellation of its own tasks.
        """
        consumer = self._member
        if consumer is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await consumer.stop()
        except (asyncio.CancelledError, KafkaError, OSError, TimeoutError) as error:
            log.warning("consumer_not_closed", error=repr(error))
            await _abandon(consumer)


async def _abandon(consumer: AnyBytesConsumer) -> None:
    """End the connections and tasks of a consumer that does not close. Its heartbeats would keep its partitions."""
    coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001 - aiokafka has no other way
    tasks: list[asyncio.Task[Any] | None] = []
    if coordinator is not None:
        tasks += [coordinator._coordination_task, coordinator._heartbeat_task, coordinator._commit_refresh_task]  # noqa: SLF001 - as above
    if fetcher is not None:
        tasks += [fetcher._fetch_task, *fetcher._pending_tasks]  # noqa: SLF001 - as above
    with suppress(TimeoutError):
        async with asyncio.timeout(_ABANDON_SECONDS):
            await consumer._client.close()  # noqa: SLF001 - as above
    await end_tasks((task for task in tasks if task is not None), seconds=_ABANDON_SECONDS)
