"""Rebuild a partition: read its topics, decide, replay the log, send what the topics lack, write Redis."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from schemas.clock import now_ms
from schemas.domain.sealing import NewerReleaseError
from schemas.errors import describe
from schemas.settings import Settings
from worker.adapters.kafka_producer import KafkaOutputs
from worker.adapters.redis_store import LaneStore
from worker.adapters.topic_reader import TopicReader, unreachable
from worker.ports import OutputError, StoreError
from worker.recovery.audit import Audit
from worker.recovery.errors import ContradictionError, OtherLogError, RecoveryError, RefusedError
from worker.recovery.evidence import PartitionEvidence, settled_before
from worker.recovery.partition_content import PartitionContent
from worker.recovery.plan import Action, Decision, LogFindings, Refuse, decide
from worker.recovery.replay import Replay
from worker.recovery.restore import MovedError, restore
from worker.recovery.states_history import StatesHistory
from worker.recovery.topics import Advance, RecoveryTopics, TopicRanges

_MARK_BITS: Final = 52


class RebuildReport(NamedTuple):
    """A partition that was rebuilt; an entry of `sleepctl rebuild --json`.

    Attributes:
        next: the offset of the next event.
        published: how many records its topics lacked, since a worker died before they were acknowledged.
        unknown: how many records are gone from the log without a sign that they were applied.
        passed_over: the tenants with a state from beyond the log's end that another program wrote.
    """

    partition: int
    tenants: int
    operations: int
    next: int
    published: int
    unknown: int
    passed_over: list[str]
    seconds: float


class Rebuild:
    """One run of `sleepctl rebuild`; see `open`."""

    def __init__(
        self,
        settings: Settings,
        topics: RecoveryTopics,
        store: LaneStore,
        outputs: KafkaOutputs,
        *,
        force: bool,
        ranges: TopicRanges,
        committed: dict[int, int],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._store = store
        self._outputs = outputs
        self._force = force
        self._ranges = ranges
        self._committed = committed

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, force: bool) -> AsyncIterator["Rebuild"]:
        """Connect, and check whether a rebuild may begin.

        Args:
            settings: name the installation.
            force: whether to replace progress, and to accept a log that was truncated or recreated.

        Raises:
            RecoveryError: if workers run, or the topics are not as the settings say.
            TopicReadError: if Kafka does not answer.
        """
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(TopicReader(settings))
            store = LaneStore.connect(settings)
            stack.push_async_callback(store.close)
            outputs = KafkaOutputs(settings)
            stack.push_async_callback(outputs.stop)
            try:
                await outputs.start()
            except (OutputError, OSError) as error:
                raise unreachable(settings, error) from None
            if members := await reader.members():
                raise RecoveryError(
                    f"{members} workers are in group {settings.consumer_group}; stop them first (a worker that was "
                    "killed leaves the group after 20 seconds)"
                )
            topics = RecoveryTopics(settings, reader)
            committed = await reader.committed()
            ranges = await topics.ranges()
            await topics.dead_letters.read_on()
            yield cls(settings, topics, store, outputs, force=force, ranges=ranges, committed=committed)

    def records(self, partitions: list[int]) -> int:
        """Return about how many records are to be read."""
        return sum(topic[number].end - topic[number].start for topic in self._ranges for number in partitions)

    async def rebuild(self, partition: int, advance: Advance) -> RebuildReport | None:
        """Rebuild a partition; None if it has progress and `force` is not set.

        After an error the partition is as before, or every lane and reader refuses it until it is rebuilt again.

        Raises:
            RefusedError: if this partition cannot be rebuilt, or not yet.
            RecoveryError: if Redis or Kafka does not answer.
            TopicReadError: if Kafka does not answer, or loses records while they are read.
        """
        began = time.monotonic()
        try:
            position = await self._position(partition)
            if position is not None and position >= 0 and not self._force:
                return None
            evidence = await self._read_evidence(partition, advance)
            content = await self._replay(evidence, advance)
            end = await self._publish(content)
            mark = -1 - secrets.randbits(_MARK_BITS)
            await restore(self._store, content, expected=position, mark=mark, end=end)
        except (ContradictionError, MovedError) as error:
            raise RefusedError(str(error)) from None
        except StoreError as error:
            raise RecoveryError(f"Redis does not answer: {describe(error)}; run the same command again") from None
        except OutputError as error:
            raise RecoveryError(f"Kafka does not answer: {describe(error)}; run the same command again") from None
        return RebuildReport(
            partition=partition,
            tenants=len(content.records),
            operations=len(content.operations),
            next=content.next,
            published=len(content.states) + len(content.transitions) + len(content.dead_letters),
            unknown=max(evidence.start - evidence.applied, 0),
            passed_over=list(content.ignored),
            seconds=time.monotonic() - began,
        )

    async def _position(self, partition: int) -> int | None:
        """Return the offset of the next event by Redis; None without progress, negative while it is being rebuilt."""
        try:
            return await self._store.mark(partition)
        except NewerReleaseError as error:
            raise RefusedError(f"partition {partition}: progress: {error}") from None
        except ValueError:
            raise RefusedError(
                f"the progress of partition {partition} is not a number: delete the Redis key "
                f"{self._store.keys(partition).progress}, and run the same command again"
            ) from None

    async def _read_evidence(self, partition: int, advance: Advance) -> PartitionEvidence:
        partitions, skipped = self._settings.partitions, self._topics.dead_letters.skipped(partition)
        (start, end), committed = self._ranges.events[partition], self._committed.get(partition)
        history = StatesHistory(partition, partitions, settled=settled_before(start, committed), skipped=skipped)
        await self._topics.read_states(history, self._ranges.states[partition], advance)
        audit = Audit(partition, max(start, committed or 0), skipped)
        await self._topics.read_audit(audit, self._ranges.transitions[partition], advance)
        return PartitionEvidence(partition, partitions, history, audit, start, end, committed, skipped)

    async def _replay(self, evidence: PartitionEvidence, advance: Advance) -> PartitionContent:
        """Replay the log as decided; what it shows may change the decision.

        Raises:
            RefusedError: if the decision is to refuse.
            ContradictionError: as `Replay`.
        """
        action = _require(decide(evidence, force=self._force))
        replay = self._begin(evidence, action)
        findings = await self._read_log(replay, evidence.partition, advance)
        final = _require(decide(evidence, findings, force=self._force))
        if final is not action:
            replay = self._begin(evidence, final)
        return replay.finished(now_ms())

    def _begin(self, evidence: PartitionEvidence, action: Action) -> Replay:
        return Replay(evidence, action, deadletter_max_ratio=self._settings.deadletter_max_ratio)

    async def _read_log(self, replay: Replay, partition: int, advance: Advance) -> LogFindings:
        try:
            async for page in self._topics.events(partition, replay.start, replay.next, advance):
                replay.read(page)
        except OtherLogError as error:
            return LogFindings(replay.identity.recognised, contradiction=str(error))
        except ContradictionError as error:
            return LogFindings(replay.identity.recognised, defect=str(error))
        return LogFindings(replay.identity.recognised)

    async def _publish(self, content: PartitionContent) -> int:
        """Send what the topics lack, and return the end of the states partition."""
        topics, partition = self._settings.topics, content.partition
        end = await self._outputs.send(topics.states, partition, content.states)
        await self._outputs.send(topics.transitions, partition, content.transitions)
        await self._outputs.dead_letters(partition, content.dead_letters)
        return self._ranges.states[partition].end if end is None else end


def _require(decision: Decision) -> Action:
    if isinstance(decision, Refuse):
        raise RefusedError(decision.reason)
    return decision
