"""Something does not answer: the lane waits, says so once, tries again, and goes on."""

import pytest
from structlog.testing import capture_logs

from tests.support.outputs import breaker, event, operation
from tests.support.world import World
from worker.fold.event_handlers import APPLY

AWAY = {
    "partition_status": "ConnectionError: redis is away",
    "load": "ConnectionError: redis is away",
    "commit": "ConnectionError: redis is away",
    "send": "KafkaError: kafka is away",
    "dead_letters": "KafkaError: kafka is away",
    "offset_range": "KafkaError: the broker is away",
}


def take_away(world: World, method: str) -> None:
    """Let one of the methods fail."""
    for faults in (world.store.faults, world.outputs.faults, world.broker):
        faults.down.add(method)


def give_back(world: World) -> None:
    """Let all of them answer again."""
    for faults in (world.store.faults, world.outputs.faults, world.broker):
        faults.heal()


@pytest.mark.parametrize(("method", "finding"), AWAY.items())
async def test_an_outage_is_said_once_waited_out_and_recovered_from(world: World, method: str, finding: str) -> None:
    """At the start as well as later; the records are folded when it is over."""
    take_away(world, method)
    world.log(breaker("acme", "open"), event("sleep.unknown.v1", "acme"))
    with capture_logs() as logs:
        lane = world.assign()
        await world.advance(60)
        meanwhile = lane.problem
        assert meanwhile == finding
        assert not lane.stopped
        assert world.stored().next == 0
        give_back(world)
        await world.advance(6)
    assert lane.problem is None
    assert lane.position == world.stored().next == 2
    assert set(world.stored().tenants) == {"acme"}
    lines = [line["event"] for line in logs if line["event"] not in {"timers_waiting", "record_set_aside"}]
    assert lines == ["waiting", "recovered"]
    assert logs[0]["reason"] == finding


@pytest.mark.parametrize("method", ["partition_status", "offset_range"])
async def test_tries_are_spaced_out_jittered_and_bounded(world: World, method: str) -> None:
    """From a tenth of a second, doubling to five, each between a half and the whole of that."""
    take_away(world, method)
    world.assign()
    await world.advance(60)
    naps = [nap for nap in world.clock.naps if nap not in (1.0, 5.0)]
    longest = [min(0.1 * 2**number, 5.0) for number in range(len(naps))]
    assert len(naps) > 12
    assert all(most / 2 <= nap <= most for nap, most in zip(naps, longest, strict=True))
    assert len({nap / most for nap, most in zip(naps, longest, strict=True)}) == len(naps)


async def test_after_a_recovery_tries_begin_close_together_again(world: World) -> None:
    """And the next outage gets a line of its own."""
    world.store.faults.down.add("partition_status")
    world.assign()
    await world.advance(30)
    world.store.faults.heal()
    await world.advance(6)
    world.clock.naps.clear()
    world.store.faults.down.add("load")
    with capture_logs() as logs:
        world.log(breaker("acme", "open"))
        await world.run()
    assert [line["event"] for line in logs] == ["waiting"]
    assert next(nap for nap in world.clock.naps if nap != 1.0) <= 0.1


async def test_a_lane_that_has_not_looked_yet_says_that_it_is_starting(world: World) -> None:
    """A partition that is not running is never shown as fine."""
    world.store.faults.hold("partition_status")
    lane = world.assign()
    await world.run()
    assert lane.problem == "starting"
    assert lane.position is None


async def test_one_output_that_fails_does_not_leave_the_others_under_way(world: World) -> None:
    """What the lane sends later must not be overtaken by what it sent before."""
    lane = world.assign()
    await world.run()
    slow = world.outputs.faults.hold(f"send:{world.topics.states}")
    world.outputs.faults.down.add(f"send:{world.topics.transitions}")
    world.log(breaker("acme", "open"))
    await world.advance(10)
    meanwhile = lane.problem
    assert (world.store.faults.calls["partition_status"], meanwhile) == (1, None)
    slow.set()
    await world.run()
    assert lane.problem == "KafkaError: kafka is away"
    world.outputs.faults.heal()
    await world.advance(1)
    assert lane.position == 1


async def test_records_folded_again_in_an_outage_count_once_towards_the_ceiling(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few records on which we fail are no bad deploy, however long Kafka is away."""
    monkeypatch.delitem(APPLY, "sleep.operation.v1")
    world.log(*[operation("acme", "op-1")] * 100)
    world.outputs.faults.down.add("dead_letters")
    lane = world.assign()
    await world.advance(60)
    assert world.outputs.faults.calls["dead_letters"] > 10
    assert not lane.stopped
    world.outputs.faults.heal()
    await world.advance(6)
    assert lane.position == 100
