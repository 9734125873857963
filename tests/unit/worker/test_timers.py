"""Timers: never early, not twice without need, and the eyes of an idle partition."""

import asyncio
from collections import Counter
from unittest.mock import patch

from pydantic_core import from_json
from structlog import get_logger
from structlog.testing import capture_logs

from tests.support.fakes import settle
from tests.support.outputs import breaker, operation, tenants_on, timer
from tests.support.times import NOW
from tests.support.world import World
from tests.unit.worker.published import published_at, timers
from worker.partition.timers import Timers
from worker.ports import Due


async def test_a_timer_comes_when_it_is_due_and_not_a_millisecond_before(world: World) -> None:
    """And the tenant wakes by it."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=1_500))
    await world.advance(1.499)
    assert timers(world) == []
    await world.advance(0.001)
    assert published_at(world) == [1_500]
    assert world.stored().counts["active"] == 1
    value = from_json(timers(world)[0].value or b"")
    assert value["subject"] == "acme"
    assert value["data"] == {"due_at": NOW + 1_500}


async def test_a_timer_that_is_due_later_is_waited_for_to_the_millisecond(world: World) -> None:
    """After one was published the loop knows the next."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=1_500), operation("other", "op-1", ttl_ms=1_733))
    await world.advance(5)
    assert published_at(world) == [1_500, 1_733]


async def test_a_commit_that_arms_an_earlier_timer_wakes_the_loop(world: World) -> None:
    """Nobody waits for the second to pass."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.advance(0.01)
    world.log(operation("other", "op-1", ttl_ms=20))
    await world.advance(0.02)
    assert published_at(world) == [30]


async def test_a_timer_that_waits_in_the_log_is_not_published_again(world: World) -> None:
    """The lane folds it, however far behind it is; another one would make it later still."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=100))
    await world.run()
    folding = world.store.faults.hold("commit")
    await world.advance(60)
    assert published_at(world) == [100]
    folding.set()
    await world.advance(60)
    assert len(timers(world)) == 1
    assert world.stored().counts["active"] == 1


async def test_a_timer_that_the_log_has_lost_is_published_again_after_five_seconds(world: World) -> None:
    """Kafka had acknowledged it, and a leader without it took over."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=100))
    await world.run()
    world.worker.consumer.poll = lambda: 0  # type: ignore[method-assign]
    await world.advance(0.1)
    world.events().cut(1)
    await world.advance(4.999)
    assert timers(world) == []
    await world.advance(0.001)
    assert published_at(world) == [5_100]


async def test_a_timer_that_was_not_acknowledged_comes_again_after_five_seconds(world: World) -> None:
    """It may be in the log or not."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=100))
    await world.run()
    world.outputs.faults.down.add(f"send:{world.topics.events}")
    await world.advance(1)
    world.outputs.faults.heal()
    await world.advance(4.099)
    assert timers(world) == []
    await world.advance(0.001)
    assert published_at(world) == [5_100]


async def test_a_log_whose_clock_is_behind_gets_the_timer_again_after_the_difference(world: World) -> None:
    """The fold does not wake anyone early, and the loop does not ask without end."""
    world.kafka.behind_ms = 300
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=1_000), at=NOW)
    await world.advance(1.299)
    assert published_at(world) == [700]
    assert world.stored().counts["active"] == 0
    await world.advance(0.001)
    assert published_at(world) == [700, 1_000]
    assert world.stored().counts["active"] == 1
    await world.advance(60)
    assert len(timers(world)) == 2


async def test_a_timer_of_before_that_is_folded_late_does_not_hold_up_the_present_one(world: World) -> None:
    """It is older than the deadline by as long as the log stood; nobody sleeps for as long once more."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=600_000), at=NOW)
    await world.run()
    await world.end()
    world.log(timer("acme", due_at=NOW))
    await world.advance((NOW + 600_000 - world.clock.now()) / 1_000)
    world.kafka.behind_ms = 100
    folding = world.store.faults.hold("load")
    world.assign()
    await world.advance(0.01)
    assert published_at(world)[1:] == [599_900]
    folding.set()
    await world.advance(1)
    assert world.stored().counts["active"] == 1


async def test_thousands_that_are_due_at_once_come_page_by_page_and_each_once(world: World) -> None:
    """Redis answers at most 2,000 at a time."""
    world.assign()
    names = [f"tenant-{number}" for number in range(2_100)]
    world.log(*(operation(name, "op-1", ttl_ms=10_000) for name in names))
    await world.run()
    looks = world.store.faults.calls["due"]
    folding = world.store.faults.hold("load")
    await world.advance(10)
    assert world.store.faults.calls["due"] - looks <= 10 + 2
    folding.set()
    await world.advance(0)
    assert sorted(str((record.key or b"").decode()) for record in timers(world)) == sorted(names)
    assert world.stored().counts == {"deep": 0, "active": 2_100}


async def test_timers_of_one_second_go_out_in_batches_all_lanes_at_once() -> None:
    """Each is at most 25 ms late, and there are few requests."""
    async with World(partitions=2) as world:
        for partition in (0, 1):
            world.assign(partition)
            for number, tenant in enumerate(tenants_on(partition, 2, 400)):
                world.log(
                    operation(tenant, "op-1", ttl_ms=1_000 + 2 * number + 3 * partition), partition=partition, at=NOW
                )
        await world.advance(5)
        moments: list[list[int]] = []
        for partition in (0, 1):
            published = [
                record for record in world.events(partition).records if b"sleep.timer" in (record.value or b"")
            ]
            lags = [record.timestamp - from_json(record.value or b"")["data"]["due_at"] for record in published]
            assert 0 <= min(lags) <= max(lags) <= 25
            assert len(lags) == 400
            moments.append(sorted({record.timestamp for record in published}))
        assert moments[0][1:-1] == moments[1][1:-1]
        assert len(moments[0]) <= 800 / 25 + 2


async def test_a_timer_that_falls_due_alone_is_not_held_up(world: World) -> None:
    """Whenever that is."""
    world.assign()
    at = [1_000 + 101 * number for number in range(30)]
    world.log(*(operation(f"tenant-{ttl}", "op-1", ttl_ms=ttl) for ttl in at))
    await world.advance(10)
    assert published_at(world) == at


async def test_a_timer_that_is_under_way_is_not_read_from_the_store_again(world: World) -> None:
    """Ten thousand may wait for their lane, while others fall due every millisecond."""
    world.assign()
    names = [f"tenant-{number}" for number in range(300)]
    world.log(*(operation(name, "op-1", ttl_ms=100 + 2 * number) for number, name in enumerate(names)), at=NOW)
    await world.run()
    world.store.faults.hold("commit")
    read: list[str] = []
    look = world.store.due

    async def due(partition: int, after: int, now: int, skip: int, most: int) -> Due:
        page = await look(partition, after, now, skip, most)
        read.extend(tenant for tenant, _ in page.timers)
        return page

    with patch.object(world.store, "due", due):
        await world.advance(4)
    assert sorted(read) == sorted(names)
    assert len(timers(world)) == 300


async def test_a_deadline_that_is_past_when_it_is_committed_gets_its_timer_at_once(world: World) -> None:
    """The lane was late with the command itself, and the loop has looked at later times meanwhile."""
    world.assign()
    await world.advance(10)
    world.log(operation("acme", "op-1", ttl_ms=1_000), at=NOW + 5_000)
    await world.advance(0)
    assert published_at(world)[-1:] == [10_000]
    assert world.stored().counts["active"] == 1


async def test_a_deadline_whose_commit_lost_its_answer_gets_its_timer_too(world: World) -> None:
    """The lane does not know what it has set, and begins again."""
    world.assign()
    await world.advance(10)
    world.store.faults.lost.append("commit")
    world.log(operation("acme", "op-1", ttl_ms=1_000), at=NOW + 5_000)
    await world.advance(4)
    assert len(timers(world)) == 1
    assert world.stored().counts["active"] == 1


async def test_a_store_that_refuses_writes_makes_no_flood_of_timers(world: World) -> None:
    """It answers what is due, and the lane begins again and again; a timer has its five seconds all the same."""
    world.assign()
    world.log(*(operation(f"tenant-{number}", "op-1", ttl_ms=1_000) for number in range(20)))
    await world.run()
    world.store.faults.down.add("commit")
    await world.advance(60)
    assert max(Counter(record.key for record in timers(world)).values()) <= 60 / 5
    world.store.faults.heal()
    await world.advance(10)
    assert world.stored().counts["active"] == 20


async def test_a_rollback_of_an_idle_partition_is_noticed_at_the_second_look(world: World) -> None:
    """Nothing arrives, so nobody but the timers would see it."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    snapshot = world.store.snapshot()
    world.log(breaker("acme", "closed"))
    await world.advance(1)
    world.store.restore(snapshot)
    with capture_logs() as logs:
        await world.advance(1)
        assert world.stored().next == 1
        await world.advance(1)
    moved = [line for line in logs if line["event"] == "moved_elsewhere"]
    assert [(line["position"], line["actual"]) for line in moved] == [(2, 1)]
    assert lane.position == world.stored().next == 2
    assert world.stored().counts["active"] == 1


async def test_a_commit_that_is_on_its_way_back_is_no_reason_to_look_again(world: World) -> None:
    """Redis may already stand where the lane is about to."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    generation = lane.fetch_buffer.generation
    world.stored().progress[b"next"] = b"2"
    await world.advance(1)
    lane.position = 2
    await world.advance(5)
    assert lane.fetch_buffer.generation == generation


async def test_timers_are_published_though_a_commit_is_on_its_way_back(world: World) -> None:
    """A position that is ahead is no rollback."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=1_000))
    await world.run()
    world.stored().progress[b"next"] = b"2"
    await world.advance(1)
    assert set(published_at(world)) == {1_000}


async def test_no_timer_is_published_from_a_store_that_fell_back(world: World) -> None:
    """What it holds is old; the lane looks again first."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=1_000))
    await world.run()
    world.stored().progress[b"next"] = b"0"
    await world.advance(1)
    assert timers(world) == []


async def test_an_idle_partition_is_looked_at_once_a_second(world: World) -> None:
    """Often enough to notice a rollback, and no oftener."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    looks = world.store.faults.calls["due"]
    await world.advance(60)
    assert world.store.faults.calls["due"] - looks == 60


async def test_a_timer_that_is_overdue_while_the_lane_waits_makes_no_busy_loop(world: World) -> None:
    """Without a position there is nothing to publish, however late it is."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=2_000))
    await world.run()
    world.broker.down.add("offset_range")
    world.outputs.faults.down.add("send")
    world.log(breaker("other", "open"))
    looks = world.store.faults.calls["due"]
    await world.advance(60)
    assert world.store.faults.calls["due"] - looks <= 60
    world.broker.heal()
    world.outputs.faults.heal()
    await world.advance(10)
    assert world.stored().counts["active"] == 1


async def test_a_store_that_is_away_is_said_once_and_asked_once_a_second(world: World) -> None:
    """The lane itself may be idle and notice nothing."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=5_000))
    await world.run()
    world.store.faults.down.add("due")
    with capture_logs() as logs:
        await world.advance(30)
    assert [(line["event"], line["reason"]) for line in logs] == [("timers_waiting", "ConnectionError: redis is away")]
    assert world.store.faults.calls["due"] <= 40
    world.store.faults.heal()
    await world.advance(2)
    assert len(timers(world)) == 1
    world.store.faults.down.add("due")
    with capture_logs() as logs:
        await world.advance(5)
    assert [line["event"] for line in logs] == ["timers_waiting"]


async def test_a_lane_that_ends_publishes_no_more_timers(world: World) -> None:
    """The next owner does."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=2_000))
    await world.run()
    await world.end()
    looks = world.store.faults.calls["due"]
    await world.advance(10)
    assert timers(world) == []
    assert world.store.faults.calls["due"] == looks


async def test_each_owner_publishes_the_timers_of_its_own_partition() -> None:
    """They lie in the partition of their tenant."""
    async with World(partitions=2) as world:
        for partition in (0, 1):
            world.assign(partition)
            tenant = tenants_on(partition, 2, 1)[0]
            world.log(operation(tenant, "op-1", ttl_ms=1_000), partition=partition)
        await world.advance(2)
        for partition in (0, 1):
            assert [record.key for record in world.events(partition).records][1:] == [
                tenants_on(partition, 2, 1)[0].encode()
            ]
            assert world.stored(partition).counts["active"] == 1


async def test_the_loop_returns_when_it_is_told_to_end(world: World) -> None:
    """After what it is doing."""
    lane = world.assign()
    await world.run()
    loop = Timers(0, world.store, world.outputs, world.reader, world.clock, get_logger())
    running = asyncio.create_task(loop.run(lane))
    looking = world.store.faults.hold("due")
    await world.advance(1)
    loop.end()
    await settle()
    assert not running.done()
    looking.set()
    await settle()
    assert running.done()


async def test_a_clock_that_is_set_back_delays_no_timer_that_was_published_by_it(world: World) -> None:
    """By a clock that was a minute ahead it was published too early, and may be again a minute later."""
    world.assign()
    world.kafka.behind_ms = 60_000
    world.log(operation("acme", "op-1", ttl_ms=61_000))
    await world.advance(2)
    assert len(world.events().records) == 2
    world.clock.jump(-60)
    world.kafka.behind_ms = 0
    world.log(operation("other", "op-2", ttl_ms=1))
    await world.advance(70)
    assert world.stored().counts["active"] == 2


async def test_a_clock_that_is_set_back_delays_no_timer_that_the_log_has_lost(world: World) -> None:
    """When to publish it again was noted by that clock."""
    world.assign()
    world.log(operation("acme", "op-1", ttl_ms=1_000), at=NOW - 3_600_000)
    await settle()
    world.worker.consumer.poll()
    await settle()
    assert len(timers(world)) == 1
    world.worker.consumer.poll = lambda: 0  # type: ignore[method-assign]
    world.events().cut(1)
    looking = world.store.faults.hold("due")
    await world.advance(1)
    world.clock.jump(-1_800)
    looking.set()
    await world.advance(1)
    assert len(timers(world)) == 1
