"""Writing a rebuilt partition: under a mark that nobody else knows, the progress last."""

import pytest

from schemas.names import OPERATION_KEPT_MS
from schemas.progress import unpack_rules
from tests.unit.worker.batches import apply_all
from tests.unit.worker.build import MINUTE, T, breaker, sleep
from tests.unit.worker.rebuilds import found, log_of, rebuilt, topic
from worker.ports import Commit
from worker.recovery.rebuild import Rebuilt
from worker.recovery.restore import SLICE, MovedError, kept_ms, restore


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


def of(tenants: int) -> Rebuilt:
    """Return a partition of so many sleeping tenants, and one command."""
    log = log_of(*[breaker("open", tenant=f"t-{number}") for number in range(tenants)], sleep("op-1", tenant="t-0"))
    lane = apply_all(log)
    return rebuilt(found(topic(lane.states), topic(lane.transitions), 0, len(log), committed=len(log)), log)


async def write(store: FakeStore, what: Rebuilt) -> None:
    """Restore partition 0 of 1."""
    await restore(store, 0, 1, what, expected=None, mark=-7, end=42)


async def test_records_come_in_slices_and_the_progress_last() -> None:
    """Each under a mark of its own, at which the one before left the partition; only the last says where it stands."""
    store, what = FakeStore(), of(SLICE + 1)
    await write(store, what)
    assert store.clears == [(0, None, -7)]
    first, second, operations, last = store.commits
    assert [commit.position for commit in store.commits] == [-7, -8, -9, -10]
    assert (len(first.records), len(second.records)) == (SLICE, 1)
    assert [commit.progress for commit in (first, second, operations)] == [{"next": -8}, {"next": -9}, {"next": -10}]
    assert first.counts == {"freeze": SLICE}
    assert (len(first.timers), len(operations.operations)) == (SLICE, 1)
    assert {name: last.progress[name] for name in ("next", "states_next", "swept", "partitions")} == {
        "next": SLICE + 2, "states_next": 42, "swept": 0, "partitions": 1,
    }  # fmt: skip
    packed = last.progress["rules"]
    assert isinstance(packed, bytes)
    assert len(unpack_rules(packed)) == 1
    assert {"timestamp", "crc"} <= last.progress.keys()


async def test_a_partition_without_a_record_of_the_log_says_nothing_of_one() -> None:
    """A lane then has nothing to read again."""
    store = FakeStore()
    await write(store, of(1)._replace(timestamp=None, crc=None))
    assert not {"timestamp", "crc"} & store.commits[-1].progress.keys()


async def test_without_a_record_of_the_log_the_keys_of_commands_go_by_the_time_of_the_rebuild() -> None:
    """They would stay for decades by the time 0."""
    store, what = FakeStore(), of(1)
    await write(store, what._replace(timestamp=None, now=T + MINUTE))
    [kept] = [kept for commit in store.commits for *_, kept in commit.operations]
    assert kept == OPERATION_KEPT_MS + 10


@pytest.mark.parametrize("store", [FakeStore(cleared=False), FakeStore(0), FakeStore(2)])
async def test_whoever_moves_the_partition_meanwhile_stops_the_rebuild(store: FakeStore) -> None:
    """At its beginning, in its middle and at its end."""
    with pytest.raises(MovedError, match="partition 0 is not where this rebuild left it"):
        await write(store, of(1))


async def test_commands_that_nobody_will_ask_for_are_left_out() -> None:
    """Their keys would have gone by themselves."""
    store, what = FakeStore(), of(1)
    await write(store, what._replace(timestamp=T + OPERATION_KEPT_MS + 2 * MINUTE))
    assert not any(commit.operations for commit in store.commits)
    [operation] = what.operations.values()
    assert kept_ms(operation, operation.finished_at) == OPERATION_KEPT_MS
