"""What the pipeline rests on, each to be taken away alone: a simulation that does not notice proves nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from schemas.progress import Progress
from tests.simulation.servers import Database
from worker.batch import Batch
from worker.deadletter import SourceRecord
from worker.intake import Fetched, Intake
from worker.lane import Lane
from worker.ports import Commit, Loaded
from worker.states import States
from worker.timers import Timers

_load, _commit, _offer = Database.load, Database.commit, Intake.offer
_emit, _fold_and_commit = Lane._emit, Lane._fold_and_commit  # noqa: SLF001 - taken away by name


async def _load_unfenced(self: Database, partition: int, _: int, tenants: Any, operations: Any) -> Loaded | None:  # noqa: ANN401 - as in the port
    return await _load(self, partition, self.partitions[partition].next, tenants, operations)


async def _commit_unfenced(self: Database, partition: int, commit: Commit) -> bool:
    return await _commit(self, partition, commit._replace(position=self.partitions[partition].next))


def _offer_with_holes(self: Intake, fetched: Fetched, acknowledge: Callable[[], object]) -> None:
    self._sought = True
    _offer(self, fetched, acknowledge)


def _offer_of_any_generation(self: Intake, fetched: Fetched, acknowledge: Callable[[], object]) -> None:
    _offer(self, fetched._replace(generation=self.generation), acknowledge)


async def _emit_nothing(self: Lane, batch: Batch) -> bool:
    vars(self)["emitted_late"] = batch
    return True


async def _emit_after_commit(self: Lane, position: int, records: list[SourceRecord]) -> bool:
    committed = await _fold_and_commit(self, position, records)
    return committed and await _emit(self, vars(self)["emitted_late"])


async def _repair_nothing(self: States, progress: Progress, _: int, end: int) -> bool:
    self.end = end
    self.committed(progress.next)
    return True


def _stands_anywhere(_: Timers, __: object, position: int | None, ___: int) -> bool:
    return position is not None


BREAKS: Final[Mapping[str, list[tuple[type, str, Any]]]] = {
    "the fence on load": [(Database, "load", _load_unfenced)],
    "the fence on commit": [(Database, "commit", _commit_unfenced)],
    "the hole rule": [(Intake, "offer", _offer_with_holes)],
    "the generations": [(Intake, "offer", _offer_of_any_generation)],
    "emit before commit": [(Lane, "_emit", _emit_nothing), (Lane, "_fold_and_commit", _emit_after_commit)],
    "the states_next repair": [(States, "_repair", _repair_nothing)],
    "the idle-rollback check": [(Timers, "_stands", _stands_anywhere)],
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
