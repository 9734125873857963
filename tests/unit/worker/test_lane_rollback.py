"""A rollback of Redis has one sign, however the lane notices it: the line `rolled_back`, and its metric."""

import pytest
from structlog.testing import capture_logs

from tests.support.outputs import breaker
from tests.support.world import World

ROLLBACKS = "sleep_worker_rollbacks_total"


def rollbacks(world: World) -> float | None:
    """Return the metric of the first worker."""
    return world.worker.metrics.registry.get_sample_value(ROLLBACKS)


async def test_a_busy_lane_reports_a_rollback_after_a_crash(world: World) -> None:
    """The lane first sees that Redis is away, so the fence refuses nothing and the timer loop sees no difference."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    snapshot = world.store.snapshot()
    world.log(breaker("acme", "half_open"), breaker("acme", "closed"))
    await world.run()
    assert rollbacks(world) == 0
    with capture_logs() as logs:
        world.store.faults.down.add("*")
        world.log(breaker("other", "open"))
        await world.advance(1)
        world.store.restore(snapshot)
        world.store.faults.heal()
        await world.advance(5)
    events = [line["event"] for line in logs]
    assert not {"moved_elsewhere", "fence_refused"} & set(events)
    assert events.index("waiting") < events.index("rolled_back")
    assert "recovered" in events
    signs = [line for line in logs if line["event"] == "rolled_back"]
    assert [(line["log_level"], line["partition"]) for line in signs] == [("warning", 0)]
    assert [(line["last_position"], line["position"]) for line in signs] == [(3, 1)]
    assert rollbacks(world) == 1
    assert lane.position == 4


@pytest.mark.parametrize("busy", [True, False])
async def test_a_rollback_without_an_outage_is_reported_too(world: World, *, busy: bool) -> None:
    """After a failover the fence refuses the next load; on an idle partition the timer loop sees the difference."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    snapshot = world.store.snapshot()
    world.log(breaker("acme", "closed"))
    await world.run()
    world.store.restore(snapshot)
    with capture_logs() as logs:
        if busy:
            world.log(breaker("acme", "open"))
        await world.advance(5)
    events = [line["event"] for line in logs]
    assert events.index("fence_refused" if busy else "moved_elsewhere") < events.index("rolled_back")
    assert rollbacks(world) == 1
    assert lane.position == world.events().end


async def test_another_owner_is_no_rollback(world: World) -> None:
    """It raises progress."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    waiting = world.store.faults.hold("load")
    world.log(breaker("acme", "closed"))
    await world.run()
    del world.store.faults.delayed["load"]
    world.join().lanes.assign([0])
    await world.run()
    with capture_logs() as logs:
        waiting.set()
        await world.run()
    assert "rolled_back" not in [line["event"] for line in logs]
    assert rollbacks(world) == 0
    assert lane.position == 2
