"""What `sleepctl rebuild` does to a partition: reads its topics, folds, sends what they lack, writes Redis."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from schemas.errors import describe
from schemas.layout import NewerLayoutError
from schemas.settings import Settings
from sleepctl.errors import CommandError
from sleepctl.kafka import unreachable
from sleepctl.letters import Letters
from sleepctl.reader import Bounds, TopicReader
from worker.outputs import Outputs
from worker.ports import OutputError, StoreError
from worker.recovery.audit import Audit
from worker.recovery.found import Found, OtherLogError, settled_before
from worker.recovery.history import History, ImpossibleError
from worker.recovery.rebuild import Rebuild, Rebuilt
from worker.recovery.restore import MovedError, restore
from worker.start import OTHER_COUNT
from worker.store import Store

Advance = Callable[[int], object]
TopicBounds = dict[int, Bounds]
_MARK_BITS: Final = 52


def now_ms() -> int:
    """Return the wall's time in milliseconds."""
    return time.time_ns() // 1_000_000


class RefusedError(Exception):
    """A partition cannot be rebuilt, or only after something else was done; the message says what. Others may be."""


class Partition(NamedTuple):
    """What became of a partition.

    Attributes:
        published: how many records its topics lacked, since a worker died before they were acknowledged.
        unknown: how many records were gone from the log without a sign that they had been applied.
        passed_over: the tenants with a state from behind the log's end that was passed over.
    """

    partition: int
    tenants: int
    operations: int
    next: int
    published: int
    unknown: int
    passed_over: list[str]
    seconds: float


class Rebuilding:
    """A run of the command; see `open`."""

    def __init__(self, settings: Settings, reader: TopicReader, store: Store, outputs: Outputs, *, force: bool) -> None:
        self._settings = settings
        self._reader = reader
        self._store = store
        self._outputs = outputs
        self._force = force
        self._letters = Letters(settings, reader)
        self._states: TopicBounds = {}
        self._transitions: TopicBounds = {}
        self._events: TopicBounds = {}
        self._committed: dict[int, int] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, *, force: bool) -> AsyncIterator["Rebuilding"]:
        """Connect, and look whether a rebuild may begin.

        Raises:
            CommandError: if workers run, the topics are not as the settings say, or something does not answer.
        """
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(TopicReader(settings))
            store = Store.connect(settings)
            stack.push_async_callback(store.close)
            outputs = Outputs(settings)
            stack.push_async_callback(outputs.stop)
            try:
                await outputs.start()
            except (OutputError, OSError) as error:
                raise unreachable(settings, error) from None
            rebuilding = cls(settings, reader, store, outputs, force=force)
            await rebuilding._look()
            yield rebuilding

    async def _look(self) -> None:
        if members := await self._reader.members():
            raise CommandError(
                f"{members} workers are in group {self._settings.consumer_group}; stop them first (one that was killed "
                "leaves the group after 20 seconds)"
            )
        topics = self._settings.topics
        self._committed = await self._reader.committed()
        self._states = await self._reader.bounds(topics.states)
        self._transitions = await self._reader.bounds(topics.transitions)
        # Last, so that nothing published refers to what lies behind its end.
        self._events = await self._reader.bounds(topics.events)
        for topic, found in zip(topics, (self._events, self._states, self._transitions), strict=False):
            if len(found) != self._settings.partitions:
                raise CommandError(
                    f"topic {topic} has {len(found)} partitions and SLEEP_PARTITIONS is {self._settings.partitions}: "
                    f"{OTHER_COUNT}"
                )
        await self._letters.read_on()

    def records(self, partitions: list[int]) -> int:
        """Return about how many records there are to be read."""
        topics = (self._states, self._transitions, self._events)
        return sum(topic[number].end - topic[number].start for topic in topics for number in partitions)

    async def rebuild(self, partition: int, advance: Advance) -> Partition | None:
        """Rebuild a partition; None where it has progress and that is not to be replaced.

        Raises:
            RefusedError: if this partition cannot be rebuilt, or not yet.
            CommandError: if something does not answer.

        After either, what it holds is as before, or refused by everybody until it is rebuilt again.
        """
        began = time.monotonic()
        try:
            expected = await self._progress(partition)
            if expected is not None and expected >= 0 and not self._force:
                return None
            found = await self._found(partition, advance)
            rebuilt = await self._folded(partition, found, advance)
            end = await self._published(partition, rebuilt)
            mark = -1 - secrets.randbits(_MARK_BITS)
            await restore(
                self._store, partition, self._settings.partitions, rebuilt, expected=expected, mark=mark, end=end
            )
        except (ImpossibleError, MovedError) as error:
            raise RefusedError(str(error)) from None
        except StoreError as error:
            raise CommandError(f"Redis does not answer: {describe(error)}; run the same command again") from None
        except OutputError as error:
            raise CommandError(f"Kafka does not answer: {describe(error)}; run the same command again") from None
        return Partition(
            partition=partition,
            tenants=len(rebuilt.records),
            operations=len(rebuilt.operations),
            next=rebuilt.next,
            published=len(rebuilt.states) + len(rebuilt.transitions) + len(rebuilt.dead_letters),
            unknown=max(found.start - found.applied, 0),
            passed_over=list(rebuilt.passed_over),
            seconds=time.monotonic() - began,
        )

    async def _progress(self, partition: int) -> int | None:
        try:
            return await self._store.mark(partition)
        except NewerLayoutError as error:
            raise RefusedError(f"partition {partition}: progress: {error}") from None
        except ValueError:
            raise RefusedError(
                f"the progress of partition {partition} is no number: delete the Redis key "
                f"{self._store.keys(partition).progress}, and run the same command again"
            ) from None

    async def _found(self, partition: int, advance: Advance) -> Found:
        topics, settings, aside = self._settings.topics, self._settings, self._letters.of(partition)
        events, committed = self._events[partition], self._committed.get(partition)
        settled = settled_before(events.start, committed)
        history = History(partition, settings.partitions, settled=settled, aside=aside)
        async for page in self._reader.read(topics.states, partition, *self._states[partition], advance):
            for record in page:
                history.read(record)
        audit = Audit(partition, max(events.start, committed or 0), aside)
        async for page in self._reader.read(topics.transitions, partition, *self._transitions[partition], advance):
            for record in page:
                audit.read(record)
        return Found(history, audit, events.start, events.end, committed, aside)

    async def _folded(self, partition: int, found: Found, advance: Advance) -> Rebuilt:
        """Fold the log; a log that was cut, or is not that of the states, only by force."""

        def begin(*, other_log: bool = False) -> Rebuild:
            return Rebuild(
                partition,
                self._settings.partitions,
                found,
                other_log=other_log,
                cut=self._force,
                deadletter_max_ratio=self._settings.deadletter_max_ratio,
            )

        rebuild = begin()
        try:
            async for page in self._reader.read(
                self._settings.topics.events, partition, rebuild.start, rebuild.next, advance
            ):
                rebuild.read(page)
            anew = found.applied > found.end and not rebuild.recognised and not found.start
            if anew and not rebuild.passed_over:
                # Nothing in it is what a state stems from, and it reaches back to its beginning.
                rebuild = begin(other_log=True)
            return rebuild.finished(now_ms())
        except OtherLogError:
            if not self._force:
                raise
        return begin(other_log=True).finished(now_ms())

    async def _published(self, partition: int, rebuilt: Rebuilt) -> int:
        """Send what the topics lack, and return the end of the states partition."""
        topics = self._settings.topics
        end = await self._outputs.send(topics.states, partition, rebuilt.states)
        await self._outputs.send(topics.transitions, partition, rebuilt.transitions)
        await self._outputs.dead_letters(partition, rebuilt.dead_letters)
        return self._states[partition].end if end is None else end
