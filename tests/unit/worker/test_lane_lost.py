"""A Redis that has lost what it held, all or a part: said, and never folded on top of."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from tests.fakes import Held
from tests.world import World, breaker, operation
from worker.ports import Commit

MANY = 2_500  # more than one batch


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """One partition, one worker, nothing in the log."""
    async with World() as world:
        yield world


async def lived(world: World, count: int) -> None:
    """Have a worker fold so many tenants' events, and end."""
    world.log(*[breaker(f"tenant-{number}", "open") for number in range(count)])
    world.assign()
    await world.run()
    await world.end()


async def test_a_partition_that_redis_has_lost_is_folded_anew_and_said_to_be_incomplete_until_it_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads meanwhile can see in progress that a tenant may be missing."""
    await lived(world, MANY)
    world.store.restore({})
    write, found = world.store.commit, list[tuple[int, bytes, str | None]]()

    async def watched(partition: int, commit: Commit) -> bool:
        done = await write(partition, commit)
        held = world.held()
        found.append((held.next, held.progress[b"refolds_to"], lane.finding))
        return done

    monkeypatch.setattr(world.store, "commit", watched)
    with capture_logs() as logs:
        lane = world.assign()
        await world.run()
    told = f"Redis held nothing of this partition: it is folded anew, and at {{}} of {MANY}"
    assert found == [(2_000, b"2500", told.format(0)), (MANY, b"2500", told.format(2_000))]
    assert lane.finding is None
    assert [(line["event"], line["to"]) for line in logs] == [("folds_anew", MANY)]


async def test_the_next_owner_goes_on_with_what_is_folded_anew(world: World) -> None:
    """It is in progress, so that a restart does not make half of a partition look whole."""
    await lived(world, 3)
    world.store.restore({})
    world.held().progress.update({b"next": b"1", b"refolds_to": b"3", b"layout": b"2"})
    loading = world.store.faults.hold("load")
    lane = world.assign()
    await world.run()
    assert str(lane.finding).endswith("it is folded anew, and at 1 of 3")
    loading.set()
    await world.run()
    assert (lane.position, lane.finding) == (3, None)


async def test_a_partition_that_was_never_used_is_not_folded_anew(world: World) -> None:
    """Its first records wait as any others do, also where Redis is away at the first commit."""
    world.log(breaker("acme", "open"))
    world.store.faults.down.add("commit")
    with capture_logs() as logs:
        world.assign()
        await world.advance(10)
        world.store.faults.heal()
        await world.advance(6)
    assert world.held().next == 1
    assert b"refolds_to" not in world.held().progress
    assert "folds_anew" not in [line["event"] for line in logs]


async def test_a_partition_that_was_rebuilt_for_a_log_made_anew_is_whole(world: World) -> None:
    """Its tenants are there, as their states were published; the new log is folded on top."""
    await lived(world, 3)
    world.events().trim(3)
    world.events().cut(0)
    world.events().start = 0
    held = world.held()
    held.progress = {b"next": b"0", b"records": b"3", b"timers": b"3", b"layout": b"2"}
    held.progress[b"states_next"] = str(world.states().end).encode()
    world.log(breaker("another", "open"))
    with capture_logs() as logs:
        lane = world.assign()
        await world.run()
    assert "folds_anew" not in [line["event"] for line in logs]
    assert b"refolds_to" not in world.held().progress
    assert (lane.finding, world.held().next) == (None, 1)


async def test_a_command_that_redis_remembers_and_the_log_has_not_told_yet_is_no_repeat(world: World) -> None:
    """All was lost but what is remembered of commands: each would be taken for a repeat of itself, and do nothing."""
    world.log(operation("acme", "op-1"))
    world.assign()
    await world.run()
    await world.end()
    packed = world.held().tenants["acme"]
    world.store.restore({0: Held(operations=world.held().operations)})
    with capture_logs() as logs:
        world.assign()
        await world.run()
    assert world.held().tenants["acme"] == packed
    [told] = [line for line in logs if line["event"] == "leftover_operation"]
    assert (told["partition"], told["tenant"], told["operation_id"]) == (0, "acme", "op-1")


async def test_timers_that_are_lost_stop_the_lane_within_a_second(world: World) -> None:
    """Without them nobody would wake by himself, and nobody would know."""
    world.log(breaker("acme", "open"))
    lane = world.assign()
    await world.run()
    world.held().timers.clear()
    await world.advance(1)
    assert lane.stopped
    assert lane.finding == "Redis holds 0 timers where progress says 1; run `sleepctl rebuild --partition 0 --force`"


@pytest.mark.parametrize("lost", ["timers", "open"])
async def test_what_is_lost_just_before_a_commit_does_not_become_what_should_be_there(world: World, lost: str) -> None:
    """A busy partition commits more often than anybody looks."""
    world.log(breaker("acme", "forced_open"), breaker("other", "open"))
    lane = world.assign()
    await world.run()
    getattr(world.held(), lost).clear()
    world.log(breaker("third", "open"))
    await world.run()
    assert lane.stopped
    assert "where progress says 1; run `sleepctl rebuild --partition 0 --force`" in str(lane.finding)
    assert set(world.held().tenants) == {"acme", "other"}


@pytest.mark.parametrize(
    ("lost", "finding"),
    [
        ("counts", "Redis holds 0 counts of tenants where progress says 1"),
        ("open", "Redis holds 0 open-ended tenants where progress says 1"),
    ],
)
async def test_counts_and_open_ended_tenants_that_are_lost_are_named_at_the_next_start(
    world: World, lost: str, finding: str
) -> None:
    """They decide nothing, so that is soon enough."""
    world.log(breaker("acme", "forced_open"))
    world.assign()
    await world.run()
    await world.end()
    getattr(world.held(), lost).clear()
    lane = world.assign()
    await world.run()
    assert lane.finding == f"{finding}; run `sleepctl rebuild --partition 0 --force`"
