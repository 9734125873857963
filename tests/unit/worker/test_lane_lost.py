"""A Redis that has lost what it held, all or a part: said, and never folded on top of."""

import pytest
from structlog.testing import capture_logs

from tests.support.outputs import breaker, operation
from tests.support.redis_contents import StoredPartition
from tests.support.world import World
from worker.ports import Commit

MANY = 2_500  # more than one batch


async def lived(world: World, count: int) -> None:
    """Have a worker fold so many tenants' events, and end."""
    world.log(*[breaker(f"tenant-{number}", "open") for number in range(count)])
    world.assign()
    await world.run()
    await world.end()


async def test_a_partition_that_redis_lost_is_incomplete_until_it_is_replayed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads meanwhile can see in progress that a tenant may be missing."""
    await lived(world, MANY)
    world.store.restore({})
    write, seen = world.store.commit, list[tuple[int, bytes, str | None]]()

    async def watched(partition: int, commit: Commit) -> bool:
        done = await write(partition, commit)
        stored = world.stored()
        seen.append((stored.next, stored.progress[b"refolds_to"], lane.problem))
        return done

    monkeypatch.setattr(world.store, "commit", watched)
    with capture_logs() as logs:
        lane = world.assign()
        await world.run()
    expected = f"No data in Redis for partition 0. Replaying the log: {{:,}} of {MANY:,} records"
    assert seen == [(2_000, b"2500", expected.format(0)), (MANY, b"2500", expected.format(2_000))]
    assert lane.problem is None
    assert [(line["event"], line["to"]) for line in logs] == [("replays_log", MANY)]


async def test_the_next_owner_goes_on_with_what_is_folded_anew(world: World) -> None:
    """It is in progress, so that a restart does not make half of a partition look whole."""
    await lived(world, 3)
    world.store.restore({})
    world.stored().progress.update({b"next": b"1", b"refolds_to": b"3", b"layout": b"2"})
    loading = world.store.faults.hold("load")
    lane = world.assign()
    await world.run()
    assert str(lane.problem).endswith("Replaying the log: 1 of 3 records")
    loading.set()
    await world.run()
    assert (lane.position, lane.problem) == (3, None)


async def test_a_partition_that_was_never_used_is_not_folded_anew(world: World) -> None:
    """Its first records wait as any others do, also where Redis is away at the first commit."""
    world.log(breaker("acme", "open"))
    world.store.faults.down.add("commit")
    with capture_logs() as logs:
        world.assign()
        await world.advance(10)
        world.store.faults.heal()
        await world.advance(6)
    assert world.stored().next == 1
    assert b"refolds_to" not in world.stored().progress
    assert "replays_log" not in [line["event"] for line in logs]


async def test_a_partition_that_was_rebuilt_for_a_log_made_anew_is_whole(world: World) -> None:
    """Its tenants are there, as their states were published; the new log is folded on top."""
    await lived(world, 3)
    world.events().trim(3)
    world.events().cut(0)
    world.events().start = 0
    stored = world.stored()
    stored.progress = {b"next": b"0", b"records": b"3", b"timers": b"3", b"layout": b"2"}
    stored.progress[b"states_next"] = str(world.states().end).encode()
    world.log(breaker("another", "open"))
    with capture_logs() as logs:
        lane = world.assign()
        await world.run()
    assert "replays_log" not in [line["event"] for line in logs]
    assert b"refolds_to" not in world.stored().progress
    assert (lane.problem, world.stored().next) == (None, 1)


async def test_a_command_in_redis_ahead_of_the_replayed_log_is_no_repeat(world: World) -> None:
    """All was lost but what is remembered of commands: each would be taken for a repeat of itself, and do nothing."""
    world.log(operation("acme", "op-1"))
    world.assign()
    await world.run()
    await world.end()
    packed = world.stored().tenants["acme"]
    # Under the key that a worker of layout 2 gave it.
    world.store.restore({0: StoredPartition(older=world.stored().operations)})
    with capture_logs() as logs:
        world.assign()
        await world.run()
    assert world.stored().tenants["acme"] == packed
    [lines] = [line for line in logs if line["event"] == "leftover_operation"]
    assert (lines["partition"], lines["tenant"], lines["operation_id"]) == (0, "acme", "op-1")


async def test_timers_that_are_lost_stop_the_lane_within_a_second(world: World) -> None:
    """Without them nobody would wake by himself, and nobody would know."""
    world.log(breaker("acme", "open"))
    lane = world.assign()
    await world.run()
    world.stored().timers.clear()
    await world.advance(1)
    assert lane.stopped
    assert lane.problem == "Redis holds 0 timers where progress says 1; run `sleepctl rebuild --partition 0 --force`"


@pytest.mark.parametrize("lost", ["timers", "open", "operations", "ended"])
async def test_what_is_lost_just_before_a_commit_does_not_become_what_should_be_there(world: World, lost: str) -> None:
    """A busy partition commits more often than anybody looks."""
    world.log(breaker("acme", "forced_open"), breaker("other", "open"), operation("acme", "op-1", ttl_ms=0))
    lane = world.assign()
    await world.run()
    getattr(world.stored(), lost).clear()
    world.log(breaker("third", "open"))
    await world.run()
    assert lane.stopped
    assert "where progress says 1; run `sleepctl rebuild --partition 0 --force`" in str(lane.problem)
    assert set(world.stored().tenants) == {"acme", "other"}


@pytest.mark.parametrize(
    ("lost", "finding"),
    [
        ("counts", "Redis holds 0 counts of tenants where progress says 1"),
        ("open", "Redis holds 0 open-ended tenants where progress says 1"),
    ],
)
async def test_lost_counts_and_open_ended_tenants_are_named_at_the_next_start(
    world: World, lost: str, finding: str
) -> None:
    """They decide nothing, so that is soon enough."""
    world.log(breaker("acme", "forced_open"))
    world.assign()
    await world.run()
    await world.end()
    getattr(world.stored(), lost).clear()
    lane = world.assign()
    await world.run()
    assert lane.problem == f"{finding}; run `sleepctl rebuild --partition 0 --force`"
