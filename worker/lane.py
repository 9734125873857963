"""A lane: one task a partition that drains, folds, emits, commits and answers, in the log's order.

Where to start is what Redis says. A batch is folded only from the position where Redis stands, and committed
only if Redis still stands there; any refusal or failure makes the lane forget what it holds, read its
position again and seek.
"""

import asyncio
import random
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog

from schemas.errors import describe
from schemas.layout import NewerLayoutError
from schemas.policy import BUILT_IN_RULES, Rules
from schemas.progress import LAYOUT, Progress, pack_rules
from schemas.record import Record
from worker.batch import Batch, Decoder, count_changes, operations_of, tenants_of
from worker.clock import Backoff
from worker.deadletter import Ceiling, SourceRecord
from worker.intake import Fetched, Intake
from worker.metrics import Metrics
from worker.ports import (
    Bounds,
    Clock,
    Commit,
    Loaded,
    OutputError,
    Outputs,
    Reader,
    Standing,
    Store,
    StoreError,
)  # fmt: skip
from worker.start import check_last_applied, check_standing, checksum, last_before
from worker.states import States
from worker.stored import REBUILD, LaneStoppedError, rebuild_by_force
from worker.timers import Timers

# Tenants whose records a lane keeps from its own last commits; about 2 KiB each.
_REMEMBERED_TENANTS: Final = 10_000
# After folding for so long a lane lets the others go on: a tenant's costly events delay its own partition only.
_TURN_SECONDS: Final = 0.01

log = structlog.get_logger("worker.lane")


class Services(NamedTuple):
    """What every lane of a worker shares."""

    store: Store
    outputs: Outputs
    bounds: Bounds
    reader: Reader
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
        stopped: whether only a person can make it go on.
    """

    def __init__(self, partition: int, services: Services) -> None:
        self.partition = partition
        self.position: int | None = None
        self.stopped = False
        self._ending = False
        self._outage: str | None = "starting"
        self._services = services
        self._log = log.bind(partition=partition)
        self._backoff = Backoff(services.random)
        self._decoder = Decoder(partition, services.partitions)
        self._ceiling = Ceiling(services.deadletter_max_ratio)
        # Where the last batch failed for want of an answer; only a batch from there shows that all is well again.
        self._failed_at: int | None = None
        self._refolds_to = 0
        # Where Redis stood as this lane last knew it, None before it has looked.
        self._stood_at: int | None = None
        self._memory: OrderedDict[str, Record | None] = OrderedDict()
        self._rules: list[Rules] = [BUILT_IN_RULES]
        self._reply_channel = re.compile(re.escape(services.reply_prefix) + r"[0-9a-f-]{36}")
        self.intake = Intake(services.clock, self._log)
        self.timers = Timers(partition, services.store, services.outputs, services.clock, self._log)
        self.states = States(partition, services.store, services.outputs, services.reader, services.clock, self._log)

    @property
    def open(self) -> bool:
        """Whether the lane wants more records."""
        return self.intake.open and not self.stopped

    @property
    def finding(self) -> str | None:
        """What keeps the lane waiting, stopped it, or is not there yet; None while all is well."""
        return self._outage or self.intake.finding or self._refolding

    @property
    def _refolding(self) -> str | None:
        if self.position is None or self.position >= self._refolds_to:
            return None
        # Until that is done, nobody can tell a tenant that is not there yet from one that never was.
        return f"Redis held nothing of this partition: it is folded anew, and at {self.position} of {self._refolds_to}"

    def offer(self, fetched: Fetched, acknowledge: Callable[[], object]) -> None:
        """Take a fetched batch; never waits."""
        self.intake.offer(fetched, acknowledge)

    def end(self) -> None:
        """Drop what is queued and let the batch in hand finish; `run` returns after it."""
        self._ending = True
        self.intake.drop()

    def look_again(self) -> None:
        """Read the position again after the batch in hand: someone saw that Redis stands elsewhere."""
        self.intake.drop()

    async def run(self) -> None:
        """Own the partition until ended; a lane that must stop says so in `finding` and consumes nothing."""
        beside = [
            asyncio.create_task(self._run_beside(self.timers.run), name=f"timers-{self.partition}"),
            asyncio.create_task(self._run_beside(self.states.watch), name=f"states-{self.partition}"),
        ]
        try:
            while not self._ending:
                await self._find_position()
                await self._work()
        except LaneStoppedError as error:
            self._stop(str(error))
            self._log.error("lane_stopped", reason=str(error))
        except Exception as error:  # noqa: BLE001 - the lane stops loudly, and the others go on
            self._fail(error)
        finally:
            self.intake.drop()
            self._memory.clear()
            self.timers.end()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _run_beside(self, work: Callable[["Lane"], Awaitable[None]]) -> None:
        """Publish timers, say; without them nobody would wake by himself, so the lane ends when they fail."""
        try:
            await work(self)
        except Exception as error:  # noqa: BLE001 - as in `run`
            self._fail(error)
            self.end()

    def _fail(self, error: Exception) -> None:
        self._stop(f"the lane failed: {error!r}; see the log, then restart the worker")
        self._log.error("lane_failed", exc_info=error)

    def _stop(self, reason: str) -> None:
        self.stopped = True
        self._outage = reason

    async def _find_position(self) -> None:
        """Read where Redis stands, hold it against the log, and seek there.

        Raises:
            LaneStoppedError: where the log no longer holds that position, or Redis is not what it was.
        """
        self._memory.clear()
        # What is folded again is not to be counted again.
        self._ceiling = Ceiling(self._services.deadletter_max_ratio)
        self.position = None
        while not self._ending:
            try:
                standing = await self._standing()
                if standing.progress.next < 0:
                    reason = f"the partition is being rebuilt; if nobody is at it any more, {REBUILD}"
                elif await self._may_start(standing):
                    self._begin(standing.progress)
                    return
                else:
                    reason = "another owner was faster; the position is read again"
            except (StoreError, OutputError) as error:
                reason = describe(error)
            await self._wait_out(reason)

    async def _standing(self) -> Standing:
        try:
            return await self._services.store.standing(self.partition)
        except NewerLayoutError as error:
            raise LaneStoppedError(f"progress: {error}") from error
        except ValueError as error:
            msg = f"progress cannot be used: {error} (if it is damaged, {rebuild_by_force(self.partition)})"
            raise LaneStoppedError(msg) from error

    async def _may_start(self, standing: Standing) -> bool:
        """Hold what Redis says against the log and the states topic; False where it is to be read again."""
        services, progress = self._services, standing.progress
        bounds = await services.bounds(self.partition)
        check_standing(standing, self.partition, bounds, services.partitions)
        events = services.outputs.topics.events
        await check_last_applied(progress, events, self.partition, services.reader, services.bounds)
        if not await self.states.settle(progress):
            return False
        if progress.next or standing.records:
            self._refolds_to = progress.refolds_to
        # A lane that stood at the beginning and stands there again has published the states of its first batch itself.
        elif self.states.end and self._stood_at != 0:
            last = await last_before(bounds[1], events, self.partition, services.reader)
            self._refolds_to = 0 if last is None else last.offset + 1
            self._log.warning("folds_anew", to=self._refolds_to)
        return True

    def _begin(self, progress: Progress) -> None:
        self._rules = progress.rules
        self.timers.begin(progress.swept, len(progress.rules) - 1)
        self.intake.seek(progress.next)
        self.position = self._stood_at = progress.next
        if progress.next != self._failed_at:
            self._recovered()

    async def _work(self) -> None:
        """Apply batch after batch until one is refused or fails, or the queue was dropped for another look."""
        while not self._ending:
            records = await self.intake.take()
            if not records or self.position is None or not await self._apply(self.position, records):
                return

    async def _apply(self, position: int, records: list[SourceRecord]) -> bool:
        """Fold a batch and make it last; False where Redis refused it or something did not answer."""
        try:
            if records[0].offset > position:
                start, _ = await self._services.bounds(self.partition)
                if start > position:
                    return False  # Not a gap: the records are gone, which the next look says.
            with self._services.metrics.batch(len(records)):
                applied = await self._fold_and_commit(position, records)
        except (StoreError, OutputError) as error:
            self._failed_at = position
            await self._wait_out(describe(error))
            return False
        if not applied:
            self._log.warning("refused", position=position)
            return False
        self._recovered()
        return True

    async def _fold_and_commit(self, position: int, records: list[SourceRecord]) -> bool:
        services = self._services
        decoded = [self._decoder.decode(record) for record in records]
        tenants = [tenant for tenant in tenants_of(decoded) if tenant not in self._memory]
        operations = operations_of(decoded)
        loaded = Loaded([], [])
        if tenants or operations:
            answer = await services.store.load(self.partition, position, tenants, operations)
            if answer is None:
                return False
            loaded = answer
        batch = Batch(
            self.partition,
            self._rules,
            self._memory,
            dict(zip(tenants, loaded.records, strict=True)),
            dict(zip(operations, loaded.operations, strict=True)),
        )
        loop = asyncio.get_running_loop()
        turn = loop.time()
        for item in decoded:
            if loop.time() - turn > _TURN_SECONDS:
                await asyncio.sleep(0)
                turn = loop.time()
            batch.fold(item)
            self._ceiling.count(failed=batch.failures[-1])
            if self._ceiling.reached:
                raise LaneStoppedError(
                    f"our own code failed on most of the last records up to {self.partition}:{item.record.offset}: a "
                    "bad deploy, not bad data; roll back, or set SLEEP_DEADLETTER_MAX_RATIO=1 to go on"
                )
        for tenant, operation_id in batch.leftovers:
            self._log.warning("leftover_operation", tenant=tenant, operation_id=operation_id)
        if not await self._emit(batch):
            return False
        commit = self._commit_of(batch, position, records)
        if not await services.store.commit(self.partition, commit):
            return False
        self._keep(batch, commit)
        services.metrics.folded(batch, decoded)
        return True

    async def _emit(self, batch: Batch) -> bool:
        """Send the outputs, all topics at once; False where someone else appended to the states meanwhile.

        Returns or raises only when nothing is under way any more, lest it overtake what is sent next.
        """
        outputs = self._services.outputs
        sends: list[Awaitable[object]] = [self.states.append(batch.states)]
        if batch.transitions:
            sends.append(outputs.send(outputs.topics.transitions, self.partition, batch.transitions))
        if batch.dead_letters:
            sends.append(outputs.dead_letters(self.partition, batch.dead_letters))
        done = await asyncio.gather(*sends, return_exceptions=True)
        for result in done:
            if isinstance(result, BaseException):
                raise result
        return bool(done[0])

    def _commit_of(self, batch: Batch, position: int, records: list[SourceRecord]) -> Commit:
        last = records[-1]
        progress: dict[str, bytes | str | int] = {
            "next": last.offset + 1,
            "timestamp": last.timestamp,
            "crc": checksum(last.key, last.value),
            "partitions": self._services.partitions,
            "layout": LAYOUT,
            "swept": self.timers.swept,
        }
        if self._refolds_to > position:
            progress["refolds_to"] = self._refolds_to
        if self.states.end is not None:
            progress["states_next"] = self.states.end
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
            operations=[(*key, operation.pack(), kept_ms) for key, (operation, kept_ms) in batch.operations.items()],
            # An answer that nobody hears is found in the operation's record.
            answers=[answer for answer in batch.answers if self._reply_channel.fullmatch(answer[0])],
        )

    def _keep(self, batch: Batch, commit: Commit) -> None:
        """Remember what the commit wrote, move on, and tell the timers."""
        self.position = self._stood_at = int(commit.progress["next"])
        self.states.committed(self.position)
        if batch.rules is not self._rules:
            self._rules = batch.rules
            self.timers.sweep(len(batch.rules) - 1)
        for tenant, record in batch.records.items():
            self._memory[tenant] = record
            self._memory.move_to_end(tenant)
        while len(self._memory) > _REMEMBERED_TENANTS:
            self._memory.popitem(last=False)
        self.intake.applied(self.position)
        self.timers.folded(batch.timers_folded, commit.timers)

    async def _wait_out(self, reason: str) -> None:
        """Note why the lane cannot go on, once, and wait before the next try."""
        self._outage = reason
        if not self._backoff.failing:
            self._log.warning("waiting", reason=self._outage)
        await self._services.clock.sleep(self._backoff.next())

    def _recovered(self) -> None:
        if self.stopped:
            return
        if self._backoff.failing:
            self._log.info("recovered", position=self.position)
        self._backoff.reset()
        self._outage = self._failed_at = None
