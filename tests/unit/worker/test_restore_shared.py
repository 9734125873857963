"""A rebuilt partition in a store that others write to as well: lanes, other rebuilds, and one that was stopped.

And in one that loses what it acknowledged.
"""

import asyncio
import copy
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from schemas.domain.policy import BUILT_IN_RULES
from schemas.redis.progress import pack_rules
from tests.support.outputs import breaker, operation
from tests.support.records import Source
from tests.support.redis_contents import StoredPartition
from tests.support.world import World
from tests.unit.worker.rebuilds import evidence_of, rebuilt, topic
from worker.ports import Commit, Output, StoreError
from worker.recovery.partition_content import PartitionContent
from worker.recovery.restore import MovedError, restore

TENANTS = 3
# The slices of so many tenants, one each, then the commands, then the progress.
COMMITS = TENANTS + 2
# Every commit moves the mark down by one; the marks of one run are not those of another.
MARK, ANOTHER = -7, -1_007


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tenant is a slice."""
    monkeypatch.setattr("worker.recovery.restore.SLICE", 1)


@pytest.fixture(autouse=True)
async def _three_tenants_folded(world: World) -> None:
    """An owner has folded events and a command of three tenants, and its lane has ended."""
    world.log(*[breaker(f"t-{number}", "open") for number in range(TENANTS)], operation("t-0", "op-1"))
    world.assign()
    await world.run()
    await world.end()


def rebuilt_of(world: World) -> PartitionContent:
    """Return what a rebuild makes of the topics."""

    def published(name: str) -> list[Source]:
        return topic([Output(record.key, record.value, record.headers) for record in world.kafka.records(name)])

    log = [
        Source(record.offset, record.timestamp, record.key, record.value, record.headers)
        for record in world.events().records
    ]
    what = evidence_of(
        published(world.topics.states), published(world.topics.transitions), 0, len(log), committed=len(log)
    )
    return rebuilt(what, log)


async def write(world: World, *, expected: int | None, mark: int) -> None:
    """Run a rebuild."""
    end = world.states().end
    await restore(world.store, rebuilt_of(world), expected=expected, mark=mark, end=end)


def content(stored: StoredPartition) -> StoredPartition:
    """Return what is held; no rules may be said in two ways."""
    before = copy.deepcopy(stored)
    before.progress.setdefault(b"rules", pack_rules([BUILT_IN_RULES]))
    before.counts = +before.counts
    return before


def lose(world: World) -> StoredPartition:
    """Take away everything that the store holds, and return it."""
    return world.store.partitions.pop(0)


async def test_a_rebuild_stopped_after_a_slice_is_refused_by_lanes_and_can_be_rerun(world: World) -> None:
    """A lane waits, says what to run, and goes on by itself afterwards; nothing is folded meanwhile."""
    before = lose(world)
    commit = world.store.commit
    slices = 0

    async def stops(partition: int, what: Commit) -> bool:
        nonlocal slices
        slices += 1
        if slices == 2:
            raise StoreError("redis is away")
        return await commit(partition, what)

    with patch.object(world.store, "commit", stops), pytest.raises(StoreError):
        await write(world, expected=None, mark=MARK)
    assert (world.stored().next, len(world.stored().tenants)) == (MARK - 1, 1)
    world.log(breaker("t-0", "closed"))
    with capture_logs():
        lane = world.assign()
        await world.advance(3)
    assert (lane.stopped, lane.position) == (False, None)
    assert lane.problem == "the partition is being rebuilt; if no rebuild is running any more, run `sleepctl rebuild`"
    assert (world.stored().next, len(world.stored().tenants)) == (MARK - 1, 1)
    [last] = world.events().records[-1:]
    world.events().cut(last.offset)
    await write(world, expected=MARK - 1, mark=ANOTHER)
    assert content(world.stored()) == content(before)
    world.log(breaker("t-0", "closed"))
    await world.advance(5)
    assert (lane.position, world.stored().next) == (5, 5)


async def test_of_two_rebuilds_at_once_one_wins(world: World) -> None:
    """The other is told, and what is held is whole."""
    before = lose(world)
    done = await asyncio.gather(
        write(world, expected=None, mark=MARK), write(world, expected=None, mark=ANOTHER), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in done) == ["MovedError", "NoneType"]
    assert content(world.stored()) == content(before)


@pytest.mark.parametrize("slices", range(COMMITS))
async def test_a_rebuild_that_takes_over_another_leaves_the_partition_whole(world: World, slices: int) -> None:
    """Wherever the other stands: what it writes afterwards is refused."""
    before = lose(world)
    commit = world.store.commit
    written = 0

    async def overtaken(partition: int, what: Commit) -> bool:
        nonlocal written
        if what.position > ANOTHER:
            if written == slices:
                await write(world, expected=what.position, mark=ANOTHER)
            written += 1
        return await commit(partition, what)

    with patch.object(world.store, "commit", overtaken), pytest.raises(MovedError):
        await write(world, expected=None, mark=MARK)
    assert written == slices + 1
    assert content(world.stored()) == content(before)


@pytest.mark.parametrize("lost", range(COMMITS - 1))
async def test_a_rebuild_stops_where_redis_lost_a_slice_that_it_acknowledged(world: World, lost: int) -> None:
    """A replica takes over that did not have it, of records or of commands. Run again, the partition is whole."""
    before = lose(world)
    commit = world.store.commit
    replica: dict[int, StoredPartition] = {}
    written = 0

    async def failing_over(partition: int, what: Commit) -> bool:
        nonlocal replica, written
        if written == lost:
            replica = world.store.snapshot()
        elif written == lost + 1:
            world.store.restore(replica)
        written += 1
        return await commit(partition, what)

    with patch.object(world.store, "commit", failing_over), pytest.raises(MovedError):
        await write(world, expected=None, mark=MARK)
    left = world.stored().next
    assert left < 0
    await write(world, expected=left, mark=ANOTHER)
    assert content(world.stored()) == content(before)


async def test_a_rebuild_deletes_all_but_receipts_and_keys_of_the_older_layout(world: World) -> None:
    """It makes the rest again; these go by themselves, and nobody lists them."""
    world.stored().older["t-1", "op-9"] = b"?"
    world.stored().receipts.add(("t-1", "op-10"))
    assert await world.store.clear(0, world.stored().next, -7)
    assert world.stored() == StoredPartition(
        {b"next": b"-7"}, older={("t-1", "op-9"): b"?"}, receipts={("t-1", "op-10")}
    )
    assert not await world.store.clear(0, 4, -8)
