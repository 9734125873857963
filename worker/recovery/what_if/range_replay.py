"""Replays a range: reads the topics, and folds each partition again. It writes nothing, and workers may run."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Final

from schemas.kafka.source_record import Failure, SourceRecord
from schemas.settings import Settings
from schemas.wire.events import RULES
from schemas.wire.usual_breaker import AnyTenantEvent
from worker.adapters.topic_reader import TopicReader
from worker.fold.decoding import Decoder
from worker.recovery.errors import RecoveryError
from worker.recovery.states_history import StatesHistory
from worker.recovery.topics import Advance, RecoveryTopics, no_progress_bar
from worker.recovery.what_if.audit_check import AuditCheck
from worker.recovery.what_if.bounds import WARM_UP_MS, InvalidBoundError, Place, Range
from worker.recovery.what_if.explanation import Document
from worker.recovery.what_if.partition import PartitionReplay
from worker.recovery.what_if.range_finder import RangeFinder
from worker.recovery.what_if.report import ReplayedPartition, Report
from worker.recovery.what_if.scenario import Alternative
from worker.recovery.what_if.starts import Starts

_EARLIER_ROWS_MS: Final = 3_600_000
"""How far before the warm-up the audit is read: the clocks of workers and brokers differ, by less than an hour."""


class RangeReplay:
    """One run of `sleepctl replay`; see `open`.

    Attributes:
        finder: finds the ranges to replay.
    """

    def __init__(
        self, settings: Settings, log: RecoveryTopics, rows: RecoveryTopics, committed: dict[int, int]
    ) -> None:
        self._settings = settings
        self._log = log
        self._rows = rows
        self._committed = committed
        self.finder = RangeFinder(settings, log)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator["RangeReplay"]:
        """Connect, and read the dead letters.

        Raises:
            RecoveryError: if a topic is not as the settings say.
            TopicReadError: if Kafka does not answer.
        """
        async with AsyncExitStack() as stack:
            # A consumer reads one topic at a time, and the log and its audit are read side by side.
            log, rows = [
                RecoveryTopics(settings, await stack.enter_async_context(TopicReader(settings))) for _ in range(2)
            ]
            await log.ranges()
            await log.dead_letters.read_on()
            yield cls(settings, log, rows, await log.reader.committed())

    async def replay(
        self,
        ranges: Sequence[Range],
        alternative: Alternative,
        tenants: Collection[str] = (),
        advance: Advance = no_progress_bar,
    ) -> Report:
        """Replay the ranges.

        Args:
            ranges: as `RangeFinder.ranges` returned them.
            alternative: what is put in the place of what was recorded.
            tenants: the only tenants that are replayed; all by default.
            advance: called with how many more offsets of the log were read.

        Raises:
            RecoveryError: if a topic holds a record that no worker wrote.
            TopicReadError: if Kafka does not answer, or loses records while they are read.
        """
        done = []
        for range_ in ranges:
            replay = await self._begin(range_, alternative, tenants)
            await self._read(replay, advance)
            replay.finish()
            done.append(ReplayedPartition.of(replay))
        return Report(done, bool(alternative))

    async def _begin(self, range_: Range, alternative: Alternative, tenants: Collection[str]) -> PartitionReplay:
        partition, skipped = range_.partition, self._log.dead_letters.skipped(range_.partition)
        history = StatesHistory(partition, self._settings.partitions, settled=range_.warm_up, skipped=skipped)
        keys = {tenant.encode() for tenant in tenants}
        topic, offsets = self._settings.topics.states, await self._log.state_range(partition)
        async for page in self._log.reader.read(topic, partition, *offsets):
            for record in page:
                if not keys or record.key in keys or (record.key or b"*").startswith(b"*"):
                    history.read(record)
        return PartitionReplay(
            range_,
            self._settings.partitions,
            Starts(history, range_),
            skipped,
            alternative=alternative,
            tenants=tenants or None,
            audited_to=self._committed.get(partition, 0),
        )

    async def _read(self, replay: PartitionReplay, advance: Advance) -> None:
        range_ = replay.range
        async with aclosing(await self._pages_of_rows(range_)) as pages:
            rows = _Rows(pages)
            async for page in self._log.events(range_.partition, range_.read_from, range_.next, advance):
                await rows.read_to(page[-1].offset, replay.audit)
                replay.read(page)
            while replay.audit.waits and await rows.read_page(replay.audit):
                pass

    async def _pages_of_rows(self, range_: Range) -> AsyncGenerator[list[SourceRecord], None]:
        """Return the audit from an hour before the first event that is folded, up to its end."""
        topic, partition = self._settings.topics.transitions, range_.partition
        _, end = await self._rows.transition_range(partition)
        begin = await self._rows.reader.offsets_at(topic, range_.from_at - WARM_UP_MS - _EARLIER_ROWS_MS)
        return self._rows.reader.read(topic, partition, begin[partition], end)

    async def explain(
        self, position: tuple[int, int], index: int, alternative: Alternative, from_: Place | None = None
    ) -> Document:
        """Explain an event: the record before it, each step of the fold, and the record after it.

        Args:
            position: of the event.
            index: the number of the audit row of this event that is asked for; an alternative may have other rows.
            alternative: what is put in the place of what was recorded.
            from_: from where on the alternative counts; None for the event itself.

        Raises:
            InvalidBoundError: if there is no such event or row.
            RecoveryError: as `replay`; if retention has cut the event; if the record before it is not kept.
        """
        partition, offset = position
        name, behind = f"{partition}:{offset}", Place(position=(partition, offset + 1))
        [range_] = await self.finder.ranges(from_ or Place(position=position), behind)
        record, event = await self._event(position, name)
        replay = await self._begin(range_._replace(next=offset), alternative, {event.subject})
        await self._read(replay, no_progress_bar)
        document = replay.explain(record, event)
        if document is None:
            raise RecoveryError(
                f"{name} cannot be explained: it became a dead letter, or the record of tenant {event.subject} from "
                "before it is not kept"
            )
        if not alternative and index >= len(document["rows"]):
            raise InvalidBoundError(
                f"{name}:{index} is no row of the audit: the event has {len(document['rows'])} rows"
            )
        return {"transition": f"{name}:{index}", "alternative": bool(alternative), **document}

    async def _event(self, position: tuple[int, int], name: str) -> tuple[SourceRecord, AnyTenantEvent]:
        partition, offset = position
        record = await self.finder.first_record(partition, offset, offset + 1)
        if record is None:
            raise InvalidBoundError(f"the log has no event at {name}")
        event = Decoder(partition, self._settings.partitions).decode(record).event
        if isinstance(event, Failure):
            raise InvalidBoundError(f"{name} is no event, but a dead letter: {event.code}")
        if event.type == RULES:
            raise InvalidBoundError(f"{name} has new rules; explain the transition of a tenant under them")
        return record, event


class _Rows:
    """The audit of a partition, read as far as the log is read."""

    def __init__(self, pages: AsyncGenerator[list[SourceRecord], None]) -> None:
        self._pages = pages

    async def read_page(self, audit: AuditCheck) -> bool:
        """Read the next page; return whether there was one."""
        page = await anext(self._pages, None)
        for record in page or ():
            audit.read(record)
        return page is not None

    async def read_to(self, offset: int, audit: AuditCheck) -> None:
        """Read on until the audit holds rows of an event after an offset, or to its end."""
        while audit.read_to <= offset and await self.read_page(audit):
            pass
