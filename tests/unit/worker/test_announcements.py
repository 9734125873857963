"""New rules are announced to every tenant of a partition by a timer: all of them, paced, and once."""

from collections import Counter
from unittest.mock import patch

import pytest
from pydantic_core import from_json
from structlog.testing import capture_logs

from tests.support.outputs import breaker, operation, rules
from tests.support.times import NOW
from tests.support.world import World
from tests.unit.worker.published import published_at, timers


async def test_new_rules_are_announced_to_every_tenant_paced(world: World) -> None:
    """Five hundred at a time, with a pause between."""
    world.assign()
    world.log(*(breaker(f"tenant-{number}", "open") for number in range(1_200)))
    await world.run()
    with capture_logs() as logs:
        world.log(rules({"policy": {"ceiling": "light"}}))
        await world.advance(1)
    assert Counter(published_at(world)) == {0: 500, 50: 500, 100: 200}
    assert world.stored().counts["light"] == 1_200
    assert [(line["event"], line["number"], line["tenants"]) for line in logs] == [("rules_announced", 1, 1_200)]


async def test_rules_that_were_announced_are_not_announced_again_by_the_next_owner(world: World) -> None:
    """The number is kept with the next commit."""
    world.assign()
    world.log(breaker("acme", "open"), rules({}))
    await world.advance(1)
    world.log(breaker("acme", "open"))
    await world.run()
    assert world.stored().progress[b"swept"] == b"1"
    await world.end()
    world.assign()
    await world.advance(5)
    assert len(timers(world)) == 1


async def test_rules_that_were_not_announced_to_all_are_announced_by_the_next_owner(world: World) -> None:
    """A crash in the middle forgets nobody."""
    world.assign()
    world.log(breaker("acme", "open"), rules({"policy": {"ceiling": "light"}}))
    world.outputs.faults.down.add(f"send:{world.topics.events}")
    await world.advance(3)
    await world.end()
    world.outputs.faults.heal()
    assert world.stored().progress[b"swept"] == b"0"
    world.assign()
    await world.advance(1)
    assert world.stored().counts["light"] == 1


async def test_rules_that_come_during_an_announcement_begin_it_anew(world: World) -> None:
    """Each tenant is told after the newest rules, and once is enough."""
    world.assign()
    world.log(*(breaker(f"tenant-{number}", "open") for number in range(1_200)))
    world.log(rules({"policy": {"ceiling": "light"}}))
    await world.advance(0.06)
    assert len(timers(world)) == 1_000
    world.log(rules({"policy": {"ceiling": "active"}}))
    await world.advance(1)
    assert len(timers(world)) == 1_000 + 1_200
    assert world.stored().counts["active"] == 1_200


async def test_an_announcement_holds_up_no_timer_that_falls_due(world: World) -> None:
    """A big partition takes seconds to be told; a TTL ends meanwhile all the same."""
    world.assign()
    world.log(*(breaker(f"tenant-{number}", "open") for number in range(1_600)))
    world.log(operation("acme", "op-1", ttl_ms=110))
    await world.run()
    world.log(rules({}))
    await world.advance(0.110)
    ours = [
        record.timestamp - NOW
        for record in timers(world)
        if from_json(record.value or b"")["data"]["due_at"] == NOW + 110
    ]
    assert ours == [110]
    assert len(timers(world)) < 1_600
    await world.advance(2)
    assert world.stored().next == world.events().end


async def test_an_announcement_that_fails_begins_anew_and_tells_nobody_twice(world: World) -> None:
    """A hiccup of Redis costs no more than another walk."""
    world.assign()
    world.log(*(breaker(f"tenant-{number}", "open") for number in range(1_200)))
    await world.run()
    world.log(rules({}))
    await world.advance(0.01)
    assert len(timers(world)) == 500
    world.store.faults.down.add("scan")
    await world.advance(3)
    world.store.faults.heal()
    await world.advance(3)
    assert len({record.key for record in timers(world)}) == len(timers(world)) == 1_200


@pytest.mark.parametrize("noticed", [True, False])
async def test_an_announcement_reaches_every_tenant_although_redis_restarts(world: World, *, noticed: bool) -> None:
    """A cursor means nothing then, and a start between two pages fails no call."""
    world.assign()
    world.log(*(breaker(f"tenant-{number}", "open") for number in range(1_200)))
    await world.run()
    scan = world.store.scan

    async def backwards(partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        await scan(partition, cursor, count)
        tenants = sorted(world.stored().tenants.items(), reverse=True)
        page = {tenant.encode(): packed for tenant, packed in tenants[cursor : cursor + count]}
        return (cursor + count if cursor + count < len(tenants) else 0), page

    world.log(rules({"policy": {"ceiling": "light"}}))
    await world.advance(0.01)
    assert len(timers(world)) == 500
    with patch.object(world.store, "scan", backwards):
        if noticed:
            world.store.faults.down.add("scan")
            await world.advance(2)
            world.store.faults.heal()
        await world.advance(3)
    assert world.stored().counts["light"] == 1_200
    assert len({record.key for record in timers(world)}) == len(timers(world)) == 1_200


async def test_an_announcement_to_a_store_that_refuses_writes_tells_everybody_once(world: World) -> None:
    """What it says waits in the log, whatever the lane can make of it."""
    world.assign()
    world.log(*(breaker(f"tenant-{number}", "open") for number in range(20)), rules({"policy": {"ceiling": "light"}}))
    await world.run()
    assert len(timers(world)) == 20
    world.store.faults.down.add("commit")
    await world.advance(60)
    assert len(timers(world)) == 20
    world.store.faults.heal()
    await world.advance(10)
    assert world.stored().counts["light"] == 20
    assert world.stored().progress[b"swept"] == b"1"
    assert len(timers(world)) == 20


async def test_a_clock_that_is_set_back_stops_no_announcement(world: World) -> None:
    """The pause between two pages was noted by it."""
    world.assign()
    world.log(*(breaker(f"tenant-{number}", "open") for number in range(600)), rules({}))
    await world.run()
    assert len(timers(world)) == 500
    world.clock.jump(-3_600)
    world.log(operation("acme", "op-1", ttl_ms=60_000))
    await world.advance(3)
    assert {f"tenant-{number}".encode() for number in range(600)} <= {record.key for record in timers(world)}


async def test_that_rules_were_announced_is_known_on_an_idle_partition_too(world: World) -> None:
    """Without a tenant no timer is folded, and no batch comes to commit it."""
    world.assign()
    world.log(rules({"retire_after_seconds": 60}))
    await world.advance(5)
    assert world.stored().progress[b"swept"] == b"1"
    assert world.stored().next == 1
