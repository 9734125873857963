"""A lane: the task that owns one partition of the events topic and folds its records in order.

To read: `Lane.run` finds the start and works; `_process_batch` takes a batch in pieces. Each piece then goes through
the six steps of `worker.partition.piece_processor`.

Redis decides where a lane starts (`worker.partition.startup`). Load and commit are fenced: Redis refuses both unless
its progress is where the lane is. After a refusal or a failure the lane forgets its records, reads its position again
and seeks.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from schemas.errors import describe
from schemas.kafka.source_record import SourceRecord
from schemas.redis.progress import Progress
from worker.partition.context import LaneContext
from worker.partition.fetch_buffer import FetchBuffer, FetchedBatch
from worker.partition.health import LaneHealth
from worker.partition.piece_processor import processor_of
from worker.partition.startup import NotYet, Startup
from worker.partition.states_topic import StatesTopic
from worker.partition.stored_records import LaneStoppedError
from worker.partition.timers import Timers
from worker.ports import OutputError, StoreError

log = structlog.get_logger("worker.partition.lane")


class Lane:
    """The owner of one partition, from its assignment to its revocation.

    Attributes:
        partition: the partition's number.
        position: the offset of the first record that is not committed, None until it is read from Redis.
        fetch_buffer: the records that were fetched for this lane.
        timers: publishes the timers of the partition.
        states: the lane's partition of the states topic.
    """

    def __init__(self, partition: int, context: LaneContext) -> None:
        self.partition = partition
        self.position: int | None = None
        self._context = context
        self._log = log.bind(partition=partition)
        self._ending = False
        self._last_position: int | None = None  # As `position`, but kept while the position is read again.
        self._health = LaneHealth(context.clock, context.random, self._log)
        self.fetch_buffer = FetchBuffer(context.clock, self._log)
        self.timers = Timers(partition, context.store, context.outputs, context.reader, context.clock, self._log)
        self.states = StatesTopic(partition, context.store, context.outputs, context.reader, context.clock, self._log)
        self._startup = Startup(partition, context, self.states, self._log)
        self._processor = processor_of(partition, context, self.states, self.timers, self._log)

    @property
    def open(self) -> bool:
        """Whether the lane wants more records."""
        return self.fetch_buffer.open and not self.stopped

    @property
    def stopped(self) -> bool:
        """Whether the lane has stopped for good, so that a person must act."""
        return self._health.stopped

    @property
    def problem(self) -> str | None:
        """Why the lane waits or has stopped, or that it replays the log; None while all is well."""
        return self._health.problem or self.fetch_buffer.problem or self._replaying

    @property
    def _replaying(self) -> str | None:
        end = self._startup.replay_end
        if self.position is None or self.position >= end:
            return None
        # Until the end of the replay, a tenant without a record may be one whose records are still to come.
        return (
            f"No data in Redis for partition {self.partition}. Replaying the log: {self.position:,} of {end:,} records"
        )

    def offer(self, fetched: FetchedBatch, acknowledge: Callable[[], object]) -> None:
        """Take a fetched batch; never waits."""
        self.fetch_buffer.offer(fetched, acknowledge)

    def reread_position(self) -> None:
        """Read the position again after the present batch: something shows that Redis has moved."""
        self.fetch_buffer.drop()

    def end(self) -> None:
        """Drop the fetched records and let the present piece finish; `run` returns after it."""
        self._ending = True
        self.fetch_buffer.drop()

    async def run(self) -> None:
        """Own the partition until `end`. A lane that must stop gives the reason in `problem` and consumes nothing."""
        background = [
            asyncio.create_task(self._run_in_background(self.timers.run), name=f"timers-{self.partition}"),
            asyncio.create_task(self._run_in_background(self.states.watch), name=f"states-{self.partition}"),
        ]
        try:
            while not self._ending:
                await self._start()
                await self._work()
        except LaneStoppedError as error:
            self._health.stop(str(error))
        except Exception as error:  # noqa: BLE001 - this lane stops and reports it; the other lanes go on
            self._health.fail(error)
        finally:
            self.fetch_buffer.drop()
            self._processor.forget()
            self.timers.end()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)

    async def _run_in_background(self, work: Callable[["Lane"], Awaitable[None]]) -> None:
        """Run a background task of the lane. If it fails, the lane ends: without timers no tenant would wake."""
        try:
            await work(self)
        except Exception as error:  # noqa: BLE001 - as in `run`
            self._health.fail(error)
            self.end()

    async def _start(self) -> None:
        """Forget every record, find the position in Redis from which to fold, and seek there. Wait while there is none.

        Raises:
            LaneStoppedError: if the log no longer holds that position, or Redis has lost or changed data.
        """
        self._processor.forget()
        self.position = None
        while not self._ending:
            try:
                start = await self._startup.find(self._last_position)
            except (StoreError, OutputError) as error:
                start = NotYet(describe(error))
            if isinstance(start, Progress):
                self._begin(start)
                return
            await self._health.wait(start.reason)

    def _begin(self, progress: Progress) -> None:
        if self._last_position is not None and progress.next < self._last_position:
            # Only a rollback of Redis lowers progress; another owner raises it.
            self._log.warning("rolled_back", last_position=self._last_position, position=progress.next)
            self._context.metrics.rollbacks.inc()
        self._processor.begin(progress, self._startup.replay_end)
        self.timers.begin(progress.swept, len(progress.rules) - 1)
        self.fetch_buffer.seek(progress.next)
        self.position = self._last_position = progress.next
        self._health.started(progress.next)

    async def _work(self) -> None:
        """Process batch after batch, until one is refused or fails, or the position must be read again."""
        while not self._ending:
            records = await self.fetch_buffer.take()
            if not records or self.position is None or not await self._process_batch(self.position, records):
                return

    async def _process_batch(self, position: int, records: list[SourceRecord]) -> bool:
        """Process a batch, which begins at a position, piece by piece.

        Return False if the position must be read again: Redis refused a piece, or Redis or Kafka did not answer.
        """
        try:
            if await self._is_behind_the_log(position, records[0]):
                return False
            pending = self._processor.pending_batch(records)
            with self._context.metrics.batch(len(records)):
                while pending:
                    after = await self._processor.process(pending, position)
                    if after is None:
                        self._log.warning("fence_refused", position=position)
                        self._context.metrics.fence_refusals.inc()
                        return False
                    position = self.position = self._last_position = after
                    self.fetch_buffer.applied(after)
                    if self._ending:
                        break  # The next owner folds the rest.
        except (StoreError, OutputError) as error:
            await self._health.wait(describe(error), failed_at=position)
            return False
        self._health.recovered(position)
        return True

    async def _is_behind_the_log(self, position: int, first: SourceRecord) -> bool:
        """Tell whether the log has deleted the records between a position and the first one that was fetched.

        If it has not, transaction markers or compaction have used up the offsets.
        """
        if first.offset <= position:
            return False
        start, _ = await self._context.offset_range(self.partition)
        return start > position
