"""A lane: one task a partition that drains, folds, emits, commits and answers, in the log's order.

Where to start is what Redis says. A batch is folded only from the position where Redis stands, and committed
only if Redis still stands there; any refusal or failure makes the lane forget what it holds, read its
position again and seek.
"""

import asyncio
import random
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol
from zlib import crc32

import structlog

from schemas.policy import BUILT_IN_RULES, Rules
from schemas.progress import LAYOUT, pack_rules
from schemas.record import Record
from worker.batch import Batch, Decoder, count_changes, operations_of, tenants_of
from worker.clock import Backoff, Clock
from worker.deadletter import Ceiling, SourceRecord
from worker.metrics import Metrics
from worker.outputs import OutputError, Outputs
from worker.store import Commit, Loaded, Store, StoreError
from worker.timers import Timers

_MAX_RECORDS: Final = 2_000
_MAX_BYTES: Final = 1 << 20
# Two batches: one is gathered while one is in hand, and a slow store makes the worker slower, not bigger.
_QUEUED_RECORDS: Final = 2 * _MAX_RECORDS
# Tenants whose records a lane keeps from its own last commits; about 2 KiB each.
_REMEMBERED_TENANTS: Final = 10_000
_FUTURE_MS: Final = 60_000
_FUTURE_POLL_SECONDS: Final = 1.0

log = structlog.get_logger("worker.lane")


class LaneStoppedError(Exception):
    """The partition cannot go on without a person; the message says what happened and which command to run."""


class Fetched(NamedTuple):
    """One fetched batch of a partition: the generation of the seek it follows, and its records in order."""

    generation: int
    records: Sequence[SourceRecord]


class Bounds(Protocol):
    """Asks the broker for the first offset that a partition still holds, and for its end."""

    async def __call__(self, partition: int) -> tuple[int, int]: ...


class Services(NamedTuple):
    """What every lane of a worker shares."""

    store: Store
    outputs: Outputs
    bounds: Bounds
    clock: Clock
    metrics: Metrics
    random: random.Random
    partitions: int
    reply_prefix: str
    deadletter_max_ratio: float


class Lane:
    """The owner of one partition, from its assignment to its revocation.

    Attributes:
        position: the offset of the first record not applied, None until Redis has said so.
        finding: what keeps the lane waiting, or stopped it; None while it runs.
        stopped: whether only a person can make it go on.
    """

    def __init__(self, partition: int, services: Services) -> None:
        self.partition = partition
        self.position: int | None = None
        self.finding: str | None = "starting"
        self.stopped = False
        self.generation = 0
        self._seek_to: int | None = None
        self._services = services
        self._backoff = Backoff(services.random)
        self._decoder = Decoder(partition, services.partitions)
        self._ceiling = Ceiling(services.deadletter_max_ratio)
        self._queue: deque[SourceRecord] = deque()
        # The offset that the next fetched batch should begin with, -1 until a seek has been asked for.
        self._expected = -1
        self._fresh_seek = False
        self._arrived = asyncio.Event()
        self._ending = False
        self._unacknowledged: deque[tuple[int, Callable[[], object]]] = deque()
        self._memory: OrderedDict[str, Record | None] = OrderedDict()
        self._rules: list[Rules] = [BUILT_IN_RULES]
        self._reply_channel = re.compile(re.escape(services.reply_prefix) + r"[0-9a-f-]{36}")
        self._log = log.bind(partition=partition)
        self.timers = Timers(partition, services.store, services.outputs, services.clock, self._log)

    # What the transport asks and brings.

    @property
    def open(self) -> bool:
        """Whether the lane wants more records."""
        return (
            self.position is not None
            and self._expected >= 0
            and not self.stopped
            and len(self._queue) < _QUEUED_RECORDS
        )

    def take_seek(self) -> int | None:
        """Return the offset to seek to before the next fetch, once, or None."""
        seek_to, self._seek_to = self._seek_to, None
        return seek_to

    def offer(self, fetched: Fetched, acknowledge: Callable[[], object]) -> None:
        """Take a fetched batch, or drop it where it is not what follows; never waits.

        A batch of an older generation is dropped. So is one that leaves a hole, and the lane seeks, unless it is
        the first after a seek: offsets may have gaps, and the lane asks the broker whether this is one.
        """
        if fetched.generation != self.generation or not fetched.records:
            acknowledge()
            return
        first = fetched.records[0].offset
        if first < self._expected or (first > self._expected and not self._fresh_seek):
            self._log.warning("hole", expected=self._expected, found=first)
            acknowledge()
            self._drop_queue()
            self._arrived.set()
            return
        self._fresh_seek = False
        self._queue.extend(fetched.records)
        self._expected = fetched.records[-1].offset + 1
        self._unacknowledged.append((self._expected, acknowledge))
        self._arrived.set()

    # The task.

    async def run(self) -> None:
        """Own the partition until cancelled; a lane that must stop says so in `finding` and consumes nothing."""
        timers = asyncio.create_task(self.timers.run(self), name=f"timers-{self.partition}")
        try:
            while not self._ending:
                await self._find_position()
                await self._work()
        except LaneStoppedError as error:
            self._stop(str(error))
            self._log.error("lane_stopped", reason=str(error))  # noqa: TRY400 - the message is the whole story
        except Exception as error:
            self._stop(f"the lane failed: {error!r}; see the log, then restart the worker")
            self._log.exception("lane_failed")
        finally:
            self.timers.end()
            timers.cancel()
            with suppress(asyncio.CancelledError):
                await timers
            self._forget()
            self._drop_queue()

    def end(self) -> None:
        """Drop what is queued and let the batch in hand finish; `run` returns after it."""
        self._ending = True
        self.wake_to_check()

    def wake_to_check(self) -> None:
        """Make the lane read its position again: someone saw that Redis stands elsewhere."""
        self._drop_queue()
        self._arrived.set()

    def _stop(self, reason: str) -> None:
        self.stopped = True
        self.finding = reason

    def _forget(self) -> None:
        self._memory.clear()

    def _drop_queue(self) -> None:
        """Drop what is queued and start a new generation; the seek follows once the batch in hand is done."""
        self._queue.clear()
        self.generation += 1
        self._expected = -1
        while self._unacknowledged:
            self._unacknowledged.popleft()[1]()

    async def _find_position(self) -> None:
        """Read where Redis stands, hold it against the log, and seek there.

        Raises:
            LaneStoppedError: where the log no longer holds that position, or Redis is not what it was.
        """
        self._forget()
        self.position = None
        services = self._services
        while not self._ending:
            try:
                standing = await services.store.standing(self.partition)
                start, end = await services.bounds(self.partition)
                break
            except (StoreError, OutputError) as error:
                await self._outage(error)
            except ValueError as error:
                raise LaneStoppedError(str(error)) from error
        else:
            return
        progress = standing.progress
        self._check(progress.next, progress.partitions, progress.records, standing.records, start, end)
        self._rules = progress.rules
        self.timers.begin(progress.swept, len(progress.rules) - 1)
        self._drop_queue()
        self.position = self._expected = self._seek_to = progress.next
        self._fresh_seek = True
        self._recovered()

    def _check(  # noqa: PLR0913 - six figures are compared
        self, position: int, partitions: int | None, records: int, found: int, start: int, end: int
    ) -> None:
        ours = self._services.partitions
        rebuild = "run `sleepctl rebuild`"
        if partitions not in (None, ours):
            raise LaneStoppedError(
                f"progress was made with {partitions} partitions and the topic has {ours}; {rebuild}"
            )
        if records != found:
            raise LaneStoppedError(f"Redis holds {found} tenant records where progress says {records}; {rebuild}")
        if position < start:
            raise LaneStoppedError(
                f"progress is {position} and the log begins at {start}: its records are gone; {rebuild}"
            )
        if position > end:
            raise LaneStoppedError(
                f"progress is {position} and the log ends at {end}: it was truncated or recreated; {rebuild}"
            )

    async def _work(self) -> None:
        """Apply batch after batch until one is refused or fails, or the lane is to end."""
        while not self._ending:
            records = await self._take()
            if not records or not await self._apply(records):
                return

    async def _take(self) -> list[SourceRecord]:
        """Return the next batch, at most 2,000 records and 1 MiB; nothing where the lane must look where it stands."""
        generation = self.generation
        while not self._queue:
            if self.generation != generation:
                return []
            self._arrived.clear()
            await self._arrived.wait()
        if self.generation != generation:
            return []
        taken: list[SourceRecord] = []
        size = 0
        latest = self._services.clock.now() + _FUTURE_MS
        while self._queue and len(taken) < _MAX_RECORDS and size < _MAX_BYTES:
            record = self._queue[0]
            if record.timestamp > latest:
                break
            taken.append(self._queue.popleft())
            size += len(record.value or b"")
        if taken:
            return taken
        ahead = self._queue[0].timestamp - self._services.clock.now()
        self.finding = f"the record at {self.partition}:{self._queue[0].offset} is {ahead} ms ahead of this clock"
        self._log.warning("record_from_the_future", offset=self._queue[0].offset, ahead_ms=ahead)
        while self._queue and self._queue[0].timestamp > self._services.clock.now() + _FUTURE_MS:
            await self._services.clock.sleep(_FUTURE_POLL_SECONDS)
        self.finding = None
        return await self._take() if self.generation == generation else []

    async def _apply(self, records: list[SourceRecord]) -> bool:
        """Fold a batch and make it last; False where Redis refused it or something did not answer."""
        position = self.position
        if position is None:
            return False
        if records[0].offset > position and not await self._is_a_gap(position):
            return False
        try:
            with self._services.metrics.batch(len(records)):
                applied = await self._fold_and_commit(position, records)
        except (StoreError, OutputError) as error:
            await self._outage(error)
            return False
        if not applied:
            self._log.warning("refused", position=position)
            return False
        self._recovered()
        return True

    async def _is_a_gap(self, position: int) -> bool:
        """Tell whether offsets may be missing from `position` on: the log still begins at or before it."""
        try:
            start, _ = await self._services.bounds(self.partition)
        except OutputError as error:
            await self._outage(error)
            return False
        return start <= position

    async def _fold_and_commit(self, position: int, records: list[SourceRecord]) -> bool:
        services = self._services
        decoded = [self._decoder.decode(record) for record in records]
        tenants = [tenant for tenant in tenants_of(decoded) if tenant not in self._memory]
        operations = operations_of(decoded)
        loaded: Loaded | None = Loaded([], [])
        if tenants or operations:
            loaded = await services.store.load(self.partition, position, tenants, operations)
            if loaded is None:
                return False
        batch = Batch(
            self.partition,
            self._rules,
            self._memory,
            dict(zip(tenants, loaded.records, strict=True)),
            dict(zip(operations, loaded.operations, strict=True)),
        )
        for item in decoded:
            batch.fold(item)
            self._ceiling.count(failed=batch.failures[-1])
        if self._ceiling.reached:
            raise LaneStoppedError(
                f"our own code failed on most of the last records up to {self.partition}:{records[-1].offset}: a bad "
                "deploy, not bad data; roll back, or set SLEEP_DEADLETTER_MAX_RATIO=1 to go on"
            )
        commit = self._commit_of(batch, position, records)
        states_next = await self._emit(batch)
        if states_next is not None:
            commit.progress["states_next"] = states_next
        if not await services.store.commit(self.partition, commit):
            return False
        self._keep(batch, commit)
        services.metrics.folded(batch, decoded)
        await self._answer(batch)
        return True

    async def _emit(self, batch: Batch) -> int | None:
        """Send the outputs, all topics at once, and return the end of the states partition if anything went there."""
        outputs = self._services.outputs
        sends: list[Awaitable[int | None]] = []
        if batch.states:
            sends.append(outputs.send(outputs.topics.states, self.partition, batch.states))
        if batch.transitions:
            sends.append(outputs.send(outputs.topics.transitions, self.partition, batch.transitions))
        if batch.dead_letters:
            sends.append(outputs.dead_letters(self.partition, batch.dead_letters))
        ends = await asyncio.gather(*sends)
        return ends[0] if batch.states else None

    def _commit_of(self, batch: Batch, position: int, records: list[SourceRecord]) -> Commit:
        last = records[-1]
        progress: dict[str, bytes | str | int] = {
            "next": last.offset + 1,
            "timestamp": last.timestamp,
            "crc": crc32(last.value or b"", crc32(last.key or b"")),
            "partitions": self._services.partitions,
            "layout": LAYOUT,
            "swept": self.timers.swept,
        }
        if batch.rules is not self._rules:
            progress["rules"] = pack_rules(batch.rules)
        written = batch.written()
        return Commit(
            position=position,
            progress=progress,
            records={tenant: item.packed for tenant, item in written.items() if item.packed is not None},
            removed=[tenant for tenant, item in written.items() if item.packed is None],
            timers={tenant: item.due for tenant, item in written.items() if item.due is not None},
            untimed=[tenant for tenant, item in written.items() if item.due is None],
            counts=count_changes(batch.before, batch.records),
            open_ended={tenant: written[tenant].open_ended for tenant in batch.published},
            operations=[
                (*key, operation.pack(), kept_ms) for key, (operation, kept_ms) in batch.operations.items()
            ],
        )

    def _keep(self, batch: Batch, commit: Commit) -> None:
        """Remember what the commit wrote, move on, and tell the timers."""
        self.position = int(commit.progress["next"])
        if batch.rules is not self._rules:
            self._rules = batch.rules
            self.timers.sweep(len(batch.rules) - 1)
        for tenant, record in batch.records.items():
            self._memory[tenant] = record
            self._memory.move_to_end(tenant)
        while len(self._memory) > _REMEMBERED_TENANTS:
            self._memory.popitem(last=False)
        while self._unacknowledged and self._unacknowledged[0][0] <= self.position:
            self._unacknowledged.popleft()[1]()
        self.timers.folded(batch.timers_folded, commit.timers)

    async def _answer(self, batch: Batch) -> None:
        """Tell the callers that wait. An answer that is lost is found in the operation's record."""
        messages = [
            (channel, packed) for channel, packed in batch.answers if self._reply_channel.fullmatch(channel)
        ]
        if not messages:
            return
        try:
            await self._services.store.answer(messages)
        except StoreError as error:
            self._log.warning("answers_lost", count=len(messages), error=str(error))

    async def _outage(self, error: Exception) -> None:
        """Note that something does not answer, once, and wait before the next try."""
        self.finding = f"{type(error).__name__}: {error}"
        if not self._backoff.failing:
            self._log.warning("waiting", reason=self.finding)
        await self._services.clock.sleep(self._backoff.next())

    def _recovered(self) -> None:
        if self._backoff.failing:
            self._log.info("recovered", position=self.position)
        self._backoff.reset()
        self.finding = None

