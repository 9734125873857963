"""Writing a rebuilt partition: under a mark that nobody else knows, the progress last."""

import pytest

from schemas.redis.progress import unpack_rules
from tests.support.batches import apply_all
from tests.support.events import breaker, mode, sleep, timer
from tests.support.records import source
from tests.support.times import HOUR, MINUTE, T
from tests.unit.worker.rebuilds import evidence_of, log_of, rebuilt, topic
from worker.ports import Commit
from worker.recovery.partition_content import PartitionContent
from worker.recovery.restore import SLICE, MovedError, restore


class FakeStore:
    """A store that takes `slices` commits and then has been moved by somebody else."""

    def __init__(self, slices: int = 99, *, cleared: bool = True) -> None:
        self.clears: list[tuple[int, int | None, int]] = []
        self.commits: list[Commit] = []
        self._left = slices
        self._cleared = cleared

    async def clear(self, partition: int, expected: int | None, mark: int) -> bool:
        self.clears.append((partition, expected, mark))
        return self._cleared

    async def commit(self, _partition: int, commit: Commit) -> bool:
        self._left -= 1
        self.commits.append(commit)
        return self._left >= 0


def of(tenants: int) -> PartitionContent:
    """Return a partition of so many sleeping tenants, and one command."""
    log = log_of(*[breaker("open", tenant=f"t-{number}") for number in range(tenants)], sleep("op-1", tenant="t-0"))
    lane = apply_all(log)
    return rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 0, len(log), committed=len(log)), log)


async def write(store: FakeStore, what: PartitionContent) -> None:
    """Restore partition 0 of 1."""
    await restore(store, what, expected=None, mark=-7, end=42)


async def test_records_come_in_slices_and_the_progress_last() -> None:
    """Each under a mark of its own, at which the one before left the partition; only the last says where it stands."""
    store, what = FakeStore(), of(SLICE + 1)
    await write(store, what)
    assert store.clears == [(0, None, -7)]
    first, second, operations, last = store.commits
    assert [commit.position for commit in store.commits] == [-7, -8, -9, -10]
    assert (len(first.records), len(second.records)) == (SLICE, 1)
    assert [commit.progress.fields() for commit in (first, second, operations)] == [
        {"next": mark} for mark in (-8, -9, -10)
    ]
    assert first.count_changes == {"freeze": SLICE}
    assert (len(first.timers), len(operations.operations)) == (SLICE, 1)
    progress = last.progress
    assert (progress.next, progress.states_next, progress.swept, progress.partitions) == (SLICE + 2, 42, 0, 1)
    assert len(unpack_rules(progress.rules)) == 1
    assert {"timestamp", "crc"} <= progress.fields().keys()


async def test_a_partition_without_a_record_of_the_log_says_nothing_of_one() -> None:
    """A lane then has nothing to read again."""
    store = FakeStore()
    await write(store, of(1)._replace(timestamp=None, crc=None))
    assert not {"timestamp", "crc"} & store.commits[-1].progress.fields().keys()


async def test_commands_are_written_by_their_ends_and_those_that_live_have_none_noted() -> None:
    """So that a lane forgets them in that order; the highest timestamp goes with them."""
    log = [
        source(0, T, sleep("long", ttl_ms=HOUR)),
        source(1, T, sleep("short", ttl_ms=MINUTE)),
        source(2, T, mode("m", "deep")),
        source(3, T + MINUTE, timer(T + MINUTE)),
    ]
    lane, store = apply_all(log), FakeStore()
    await write(store, rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 0, 4, committed=4), log))
    _, operations, last = store.commits
    assert [operation_id for _, operation_id in operations.operations] == ["m", "short", "long"]
    assert [operation_id for _, operation_id in operations.ended_operations] == ["m", "short"]
    assert operations.operations == lane.operations
    assert last.progress.highest == T + MINUTE


@pytest.mark.parametrize("store", [FakeStore(cleared=False), FakeStore(0), FakeStore(2)])
async def test_whoever_moves_the_partition_meanwhile_stops_the_rebuild(store: FakeStore) -> None:
    """At its beginning, in its middle and at its end."""
    with pytest.raises(MovedError, match="partition 0 is not where this rebuild left it"):
        await write(store, of(1))


async def test_commands_that_are_forgotten_are_left_out() -> None:
    """The time is that of the log, and not that of the machine that rebuilds."""
    log = [source(0, T, mode("m", "deep")), source(1, T + 2 * HOUR, breaker("open", tenant="bolt"))]
    lane, store = apply_all(log), FakeStore()
    await write(store, rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 0, 2, committed=2), log))
    assert lane.operations == {}
    assert not any(commit.operations for commit in store.commits)
