"""The lanes of a worker: made on assignment, ended on revocation, counted as they are."""

import asyncio

import pytest
from structlog.testing import capture_logs

from tests.support.fakes import settle
from tests.support.outputs import breaker, tenants_on
from tests.support.world import World
from worker.partition.fetch_buffer import FetchedBatch

pytestmark = pytest.mark.partitions(4)


def lanes_by_state(world: World) -> dict[str, float | None]:
    """Return the gauge as it is scraped."""
    registry = world.worker.metrics.registry
    return {
        state: registry.get_sample_value("sleep_worker_lanes", {"state": state}) for state in ("running", "stopped")
    }


async def test_an_assignment_makes_a_lane_for_each_new_partition(world: World) -> None:
    """And leaves those that stand as they are."""
    lanes = world.worker.lanes
    lanes.assign([2, 0])
    first = lanes.get(2)
    lanes.assign([2, 3])
    assert [lane.partition for lane in lanes] == [0, 2, 3]
    assert lanes.get(2) is first
    assert lanes.get(1) is None


async def test_a_revocation_returns_when_the_batches_in_hand_are_finished(world: World) -> None:
    """Only then may another worker begin."""
    lanes = world.worker.lanes
    lanes.assign([0, 1])
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(breaker(tenants_on(0, 4, 1)[0], "open"))
    await world.run()
    revoking = asyncio.create_task(lanes.revoke([0, 1, 2]))
    await settle()
    assert not revoking.done()
    assert list(lanes) == []
    committing.set()
    await settle()
    assert revoking.done()
    assert world.stored(0).next == 1


async def test_lanes_that_are_not_revoked_go_on(world: World) -> None:
    """Each partition is on its own."""
    lanes = world.worker.lanes
    lanes.assign([0, 1])
    await world.run()
    await lanes.revoke([0])
    world.log(breaker(tenants_on(1, 4, 1)[0], "open"), partition=1)
    await world.run()
    assert world.stored(1).next == 1


async def test_a_lane_that_does_not_end_in_time_is_cancelled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance does not wait for ever; the fence keeps what it still sends from counting."""
    monkeypatch.setattr("worker.partition.manager.END_SECONDS", 0.0)
    lanes = world.worker.lanes
    lanes.assign([0])
    await world.run()
    world.store.faults.hold("commit")
    world.log(breaker(tenants_on(0, 4, 1)[0], "open"))
    await world.run()
    with capture_logs() as logs:
        await lanes.revoke([0])
    assert [(line["event"], line["lane"]) for line in logs] == [("lane_cancelled", "lane-0")]
    assert world.stored(0).next == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("lane", "timers"))]


async def test_a_batch_of_a_partition_that_is_not_ours_is_acknowledged_and_dropped(world: World) -> None:
    """It was under way when the partition went."""
    acknowledged: list[bool] = []
    world.worker.lanes.offer(3, FetchedBatch(0, []), lambda: acknowledged.append(True))
    assert acknowledged == [True]


async def test_a_partition_that_comes_back_gets_a_new_lane(world: World) -> None:
    """The old one's memory is gone with it."""
    lanes = world.worker.lanes
    lanes.assign([0])
    first = lanes.get(0)
    await lanes.end()
    lanes.assign([0])
    assert lanes.get(0) is not first


async def test_a_lane_that_stops_is_counted_as_stopped_at_once(world: World) -> None:
    """An alert on it must not wait for the next rebalance."""
    assert lanes_by_state(world) == {"running": 0, "stopped": 0}
    world.stored(1).progress[b"next"] = b"5"
    world.worker.lanes.assign([0, 1])
    await world.run()
    assert lanes_by_state(world) == {"running": 1, "stopped": 1}
    await world.worker.lanes.end()
    assert lanes_by_state(world) == {"running": 0, "stopped": 0}
