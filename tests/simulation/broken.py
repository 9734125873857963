"""What the pipeline rests on, each to be taken away alone: a simulation that does not notice proves nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from schemas.kafka.source_record import SourceRecord
from schemas.redis.progress import Progress
from schemas.wire.operation import OperationRecord
from tests.simulation.servers import Database
from worker.fold.decoding import Decoded
from worker.fold.piece import Piece
from worker.partition.fetch_buffer import FetchBuffer, FetchedBatch
from worker.partition.pending_batch import PendingBatch
from worker.partition.piece_processor import PieceProcessor
from worker.partition.states_topic import StatesTopic
from worker.partition.timers import Timers
from worker.ports import Commit, Loaded

_load, _commit, _offer = Database.load, Database.commit, FetchBuffer.offer
_emit, _process = PieceProcessor._emit, PieceProcessor.process  # noqa: SLF001 - taken away by name
_pending_batch, _fold = PieceProcessor.pending_batch, PieceProcessor._fold  # noqa: SLF001 - as above


async def _load_unfenced(self: Database, partition: int, _: int, tenants: Any, operations: Any) -> Loaded | None:  # noqa: ANN401 - as in the port
    return await _load(self, partition, self.partitions[partition].next, tenants, operations)


async def _commit_unfenced(self: Database, partition: int, commit: Commit) -> bool:
    return await _commit(self, partition, commit._replace(position=self.partitions[partition].next))


def _offer_with_holes(self: FetchBuffer, fetched: FetchedBatch, acknowledge: Callable[[], object]) -> None:
    self._sought = True
    _offer(self, fetched, acknowledge)


def _offer_of_any_generation(self: FetchBuffer, fetched: FetchedBatch, acknowledge: Callable[[], object]) -> None:
    _offer(self, fetched._replace(generation=self.generation), acknowledge)


async def _emit_nothing(self: PieceProcessor, batch: Piece) -> bool:
    vars(self)["emitted_late"] = batch
    return True


async def _emit_after_commit(self: PieceProcessor, pieces: PendingBatch, position: int) -> int | None:
    after = await _process(self, pieces, position)
    return after if after is not None and await _emit(self, vars(self)["emitted_late"]) else None


def _pending_batch_knowing_the_last(self: PieceProcessor, records: list[SourceRecord]) -> PendingBatch:
    vars(self)["last"] = records[-1]
    return _pending_batch(self, records)


async def _fold_to_the_end_of_the_batch(self: PieceProcessor, pending: PendingBatch) -> tuple[Piece, list[Decoded]]:
    piece, decoded = await _fold(self, pending)
    return piece, [*decoded[:-1], decoded[-1]._replace(record=vars(self)["last"])]


def _forget_commands(self: PendingBatch, batch: Piece) -> None:
    for tenant in batch.records:
        self._packed.pop(tenant, None)


def _keep_what_was_loaded(self: PendingBatch, batch: Piece) -> None:
    self._operations.update(batch.packed_operations())


async def _repair_nothing(self: StatesTopic, progress: Progress, _: int, end: int) -> bool:
    self.end = end
    self.committed(progress.next)
    return True


def _current_anywhere(_: Timers, __: object, position: int | None, ___: int) -> bool:
    return position is not None


def _known_while_held(_: OperationRecord, __: int, ___: int) -> bool:
    """Whatever the store still holds is a repeat: what it has taken away then depends on commits."""
    return True


BREAKS: Final[Mapping[str, list[tuple[type, str, Any]]]] = {
    "the fence on load": [(Database, "load", _load_unfenced)],
    "the fence on commit": [(Database, "commit", _commit_unfenced)],
    "the hole rule": [(FetchBuffer, "offer", _offer_with_holes)],
    "the generations": [(FetchBuffer, "offer", _offer_of_any_generation)],
    "emit before commit": [(PieceProcessor, "_emit", _emit_nothing), (PieceProcessor, "process", _emit_after_commit)],
    "the piece's own end": [
        (PieceProcessor, "pending_batch", _pending_batch_knowing_the_last),
        (PieceProcessor, "_fold", _fold_to_the_end_of_the_batch),
    ],
    "the commands of earlier pieces": [(PendingBatch, "committed", _forget_commands)],
    "the records of earlier pieces": [(PendingBatch, "committed", _keep_what_was_loaded)],
    "the states_next repair": [(StatesTopic, "_repair", _repair_nothing)],
    "the idle-rollback check": [(Timers, "_is_current", _current_anywhere)],
    "the log's word on what is forgotten": [(OperationRecord, "is_known", _known_while_held)],
}
"""What is taken away, and what stands in its place."""


@contextmanager
def broken(name: str | None) -> Iterator[None]:
    """Take one thing away, or nothing."""
    with _patched([] if name is None else BREAKS[name]):
        yield


@contextmanager
def _patched(places: list[tuple[type, str, Any]]) -> Iterator[None]:
    if not places:
        yield
        return
    (owner, attribute, instead), *rest = places
    with patch.object(owner, attribute, instead), _patched(rest):
        yield
