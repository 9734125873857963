"""What happens to one piece of a batch: load, fold, emit, commit, remember, report. See `PieceProcessor.process`."""

import asyncio
import re
from collections.abc import Awaitable

from structlog.typing import FilteringBoundLogger

from schemas.domain.policy import BUILT_IN_RULES, Rules
from schemas.kafka.source_record import SourceRecord
from schemas.redis.progress import Progress, ProgressUpdate
from worker.fold.dead_letter import Ceiling
from worker.fold.decoding import Decoded, Decoder
from worker.fold.piece import Piece
from worker.partition.commit import build_commit
from worker.partition.context import LaneContext
from worker.partition.pending_batch import PendingBatch
from worker.partition.record_cache import RecordCache
from worker.partition.states_topic import StatesTopic
from worker.partition.timers import Timers
from worker.ports import Commit


class PieceProcessor:
    """Folds the pieces of one partition, each onto what the one before has committed.

    Between two pieces it keeps what Redis holds too: records of tenants, the rules, the highest timestamp.

    Args:
        partition: the partition's number.
        context: what the lanes share.
        states: the lane's partition of the states topic.
        timers: the lane's timers.
        log: the lane's log.
    """

    def __init__(
        self, partition: int, context: LaneContext, states: StatesTopic, timers: Timers, log: FilteringBoundLogger
    ) -> None:
        self._partition = partition
        self._context = context
        self._states = states
        self._timers = timers
        self._log = log
        self._rules: list[Rules] = [BUILT_IN_RULES]
        # The highest timestamp of any event that is committed. It decides which commands are forgotten.
        self._highest = 0
        self._replay_end = 0
        self._cache = RecordCache()
        self._decoder = Decoder(partition, context.settings.partitions)
        self._ceiling = Ceiling(context.settings.deadletter_max_ratio)
        self._reply_channel = re.compile(re.escape(context.settings.reply_prefix) + r"[0-9a-f-]{36}")

    def forget(self) -> None:
        """Forget the records of tenants, and how many events failed: they are loaded and counted again."""
        self._cache.clear()
        self._ceiling = Ceiling(self._context.settings.deadletter_max_ratio)

    def begin(self, progress: Progress, replay_end: int) -> None:
        """Go on from progress.

        Args:
            progress: what Redis says.
            replay_end: the offset up to which the log is replayed, 0 if it is not.
        """
        self._rules = progress.rules
        self._highest = progress.latest
        self._replay_end = replay_end

    def pending_batch(self, records: list[SourceRecord]) -> PendingBatch:
        """Return a batch of which no piece is processed yet."""
        return PendingBatch(self._partition, map(self._decoder.decode, records), self._cache)

    async def process(self, pending: PendingBatch, position: int) -> int | None:
        """Process the next piece of a batch, from a position on, and return the position after it.

        This method will:
         1. Load from Redis the records and commands that the piece needs.
         2. Fold its events. Nothing outside the piece changes.
         3. Emit states, audit rows and dead letters, and wait until Kafka has acknowledged all of them.
         4. Commit records, timers and progress to Redis, and answer the callers, in one script.
         5. Remember what the commit has written, for the next piece.
         6. Report the piece in metrics and log.

        Return None if Redis is not at the position, or if another worker has appended to the states topic. Then the
        position must be read again. A crash after any step loses nothing: see the step.

        Raises:
            LaneStoppedError: if our own code fails on most records, or a record in Redis cannot be read.
            OutputError: if Kafka does not acknowledge.
            StoreError: if Redis does not answer.
        """
        if not await self._load(pending, position):
            return None
        piece, decoded = await self._fold(pending)
        if not await self._emit(piece):
            return None
        last = decoded[-1].record
        commit = self._build_commit(piece, position, last)
        if not await self._commit(commit):
            return None
        after = last.offset + 1
        self._remember(pending, piece, commit, after)
        self._report(piece, decoded)
        return after

    async def _load(self, pending: PendingBatch, position: int) -> bool:
        """Step 1: read what the piece needs; False if Redis is not at the position.

        After a crash the next owner reads the position and fetches the same records, since nothing was written.
        """
        return await pending.load(self._context.store, position)

    async def _fold(self, pending: PendingBatch) -> tuple[Piece, list[Decoded]]:
        """Step 2: fold the piece, and return it with its records.

        After a crash the next owner folds the same records to the same result, since the fold is pure.
        """
        piece = pending.begin_piece(self._rules, self._highest)
        decoded = await pending.fold(piece, self._ceiling)
        for tenant, operation_id in piece.leftovers:
            self._log.warning("leftover_operation", tenant=tenant, operation_id=operation_id)
        return piece, decoded

    async def _emit(self, piece: Piece) -> bool:
        """Step 3: publish to all topics at once; False if another worker has appended to the states topic.

        After a crash the next owner publishes the same outputs again: states with the same value, audit rows with the
        same id. It returns or raises only when no output is under way: a late one would overtake the next piece's.
        """
        outputs = self._context.outputs
        sends: list[Awaitable[object]] = [self._states.append(piece.states)]
        if piece.transitions:
            sends.append(outputs.send(outputs.topics.transitions, self._partition, piece.transitions))
        if piece.dead_letters:
            sends.append(outputs.dead_letters(self._partition, piece.dead_letters))
        results = await asyncio.gather(*sends, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return bool(results[0])

    def _build_commit(self, piece: Piece, position: int, last: SourceRecord) -> Commit:
        lane_fields = ProgressUpdate(
            partitions=self._context.settings.partitions,
            swept=self._timers.swept,
            states_next=self._states.end,
            refolds_to=self._replay_end if self._replay_end > position else None,
        )
        return build_commit(piece, position, last, lane_fields, self._reply_channel)

    async def _commit(self, commit: Commit) -> bool:
        """Step 4: write the piece and answer its callers, all or nothing; False if Redis is not at the position.

        After a crash the next owner goes on behind the piece. A caller who missed the answer reads the operation.
        """
        return await self._context.store.commit(self._partition, commit)

    def _remember(self, pending: PendingBatch, piece: Piece, commit: Commit, position: int) -> None:
        """Step 5: keep what the commit has written, and pass it to the states and timers.

        After a crash the next owner reads all of it from Redis.
        """
        self._highest = piece.highest
        self._states.committed(position)
        if piece.published_rules:
            self._rules = piece.rules
            self._timers.sweep(len(piece.rules) - 1)
        for tenant, record in piece.records.items():
            self._cache.remember(tenant, record, len(commit.records.get(tenant, b"")))
        pending.committed(piece)
        self._timers.folded(piece.timers_folded, commit.timers)

    def _report(self, piece: Piece, decoded: list[Decoded]) -> None:
        """Step 6: count the piece. A crash before loses its counts; after the commit no record is counted twice."""
        self._context.metrics.folded(piece, decoded)
        self._context.unreadable.note(piece.unreadable)


def processor_of(
    partition: int, context: LaneContext, states: StatesTopic, timers: Timers, log: FilteringBoundLogger
) -> PieceProcessor:
    """Return the processor of a partition; one that makes spans where tracing is on. See `PieceProcessor`."""
    if context.tracing is None:
        return PieceProcessor(partition, context, states, timers, log)
    from worker.partition.traced_pieces import TracedPieceProcessor  # noqa: PLC0415 - only where tracing is on

    return TracedPieceProcessor(partition, context, states, timers, log, tracing=context.tracing)
