"""How a lane ends: the batch in hand is finished, what is queued is dropped, and a failure is loud."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from tests.support.fakes import settle
from tests.support.outputs import breaker, operation
from tests.support.world import World
from worker.fold.event_handlers import APPLY
from worker.ports import Due, Output


def task_of(partition: int = 0) -> asyncio.Task[None]:
    """Return the task of a lane."""
    return next(task for task in asyncio.all_tasks() if task.get_name() == f"lane-{partition}")


async def test_ending_finishes_the_batch_in_hand_and_drops_what_is_queued(world: World) -> None:
    """The next owner reads the rest."""
    lane = world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(breaker("acme", "open"))
    await world.run()
    world.log(breaker("other", "open"))
    await world.run()
    task = task_of()
    lane.end()
    await settle()
    assert not task.done()
    assert world.worker.consumer.acknowledged == 2
    committing.set()
    await settle()
    assert task.done()
    assert world.stored().next == 1
    assert set(world.stored().tenants) == {"acme"}
    assert not lane.open


async def test_an_idle_lane_ends_at_once(world: World) -> None:
    """Nothing is in hand."""
    lane = world.assign()
    await world.run()
    task = task_of()
    lane.end()
    await settle()
    assert task.done()
    assert not lane.stopped


async def test_a_lane_ends_while_it_looks_for_its_position(world: World) -> None:
    """What it finds is of no use any more."""
    looking = world.store.faults.hold("partition_status")
    lane = world.assign()
    await world.run()
    task = task_of()
    lane.end()
    looking.set()
    await settle()
    assert task.done()


async def test_a_lane_ends_in_an_outage_after_its_present_wait(world: World) -> None:
    """It does not try again."""
    world.store.faults.down.add("partition_status")
    lane = world.assign()
    await world.advance(30)
    task = task_of()
    lane.end()
    tries = world.store.faults.calls["partition_status"]
    await world.advance(5)
    assert task.done()
    assert world.store.faults.calls["partition_status"] == tries


async def test_an_ended_lane_takes_nothing_more(world: World) -> None:
    """A batch that was under way is acknowledged and dropped."""
    lane = world.assign()
    await world.run()
    world.log(breaker("acme", "open"))
    late = world.worker.consumer.fetched(0, lane.fetch_buffer.generation)
    lane.end()
    acknowledged: list[bool] = []
    lane.offer(late, lambda: acknowledged.append(True))
    await settle()
    assert acknowledged == [True]
    assert world.stored().next == 0


async def test_a_cancelled_lane_leaves_no_task_behind(world: World) -> None:
    """The timers go with it."""
    world.assign()
    await world.run()
    task = task_of()
    task.cancel()
    await settle()
    assert task.cancelled()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("timers")]


async def test_an_unexpected_failure_stops_the_lane_loudly(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is swallowed, and nothing goes on half done."""

    async def fail(*_: object) -> int:
        raise RuntimeError("a bug of ours")

    lane = world.assign()
    await world.run()
    monkeypatch.setattr(world.outputs, "send", fail)
    world.log(breaker("acme", "open"))
    with capture_logs() as logs:
        await world.run()
    assert lane.stopped
    assert not lane.open
    assert lane.problem == "the lane failed: RuntimeError('a bug of ours'); see the log, then restart the worker"
    assert [(line["event"], line["log_level"]) for line in logs] == [("lane_failed", "error")]
    assert isinstance(logs[0]["exc_info"], RuntimeError)
    assert world.stored().next == 0


async def test_timers_that_fail_unexpectedly_stop_their_lane_loudly(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without timers nobody would wake, and nobody would know."""

    async def fail(*_: object) -> Due:
        raise RuntimeError("a bug of ours")

    lane = world.assign()
    await world.run()
    task = task_of()
    monkeypatch.setattr(world.store, "due", fail)
    with capture_logs() as logs:
        await world.advance(1)
    assert task.done()
    assert lane.stopped
    assert lane.problem == "the lane failed: RuntimeError('a bug of ours'); see the log, then restart the worker"
    assert [(line["event"], line["log_level"]) for line in logs] == [("lane_failed", "error")]
    world.log(breaker("acme", "open"))
    await world.run()
    assert world.stored().next == 0


async def test_timers_that_fail_during_a_batch_stop_the_lane_after_that_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A success afterwards does not hide the failure."""

    async def fail(*_: object) -> Due:
        raise RuntimeError("a bug of ours")

    lane = world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(breaker("acme", "open"))
    await world.run()
    monkeypatch.setattr(world.store, "due", fail)
    with capture_logs():
        await world.advance(1)
    committing.set()
    await world.run()
    assert world.stored().next == 1
    assert lane.stopped
    assert "a bug of ours" in str(lane.problem)


@pytest.fixture
def bad_deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that fails on each operation."""
    monkeypatch.delitem(APPLY, "sleep.operation.v1")


def events_of(count: int) -> Sequence[Output]:
    """Return as many operations."""
    return [operation(f"tenant-{number}", "op-1") for number in range(count)]


@pytest.mark.usefixtures("bad_deploy")
@pytest.mark.parametrize(("failures", "stops"), [(499, False), (500, True)])
async def test_a_lane_stops_where_our_own_code_fails_on_too_much(world: World, failures: int, *, stops: bool) -> None:
    """That is a bad deploy; the batch is neither committed nor set aside."""
    world.log(*events_of(failures))
    with capture_logs() as logs:
        lane = world.assign()
        await world.run()
    assert lane.stopped is stops
    assert len(world.kafka.records(world.topics.deadletter)) == (0 if stops else failures)
    assert world.stored().next == (0 if stops else failures)
    if stops:
        assert lane.problem == (
            "our own code failed on most of the last records up to 0:499: a bad deploy, not bad data; roll back, or "
            "set SLEEP_DEADLETTER_MAX_RATIO=1 to go on"
        )
        assert [line["event"] for line in logs] == ["lane_stopped"]


@pytest.mark.usefixtures("bad_deploy")
@pytest.mark.parametrize("at_once", [100, 2_000])
async def test_the_ceiling_does_not_depend_on_where_batches_end(world: World, at_once: int) -> None:
    """Good records behind the bad ones do not make up for them, whether or not they are in the same batch."""
    records = [*events_of(600), *(breaker("acme", "open") for _ in range(1_400))]
    lane = world.assign()
    for first in range(0, len(records), at_once):
        world.log(*records[first : first + at_once])
        await world.run()
    assert lane.stopped
    assert "up to 0:499:" in str(lane.problem)


@pytest.mark.usefixtures("bad_deploy")
async def test_with_the_ratio_at_one_a_lane_goes_on_whatever_fails() -> None:
    """A person has decided that these records are to be set aside."""
    async with World(deadletter_max_ratio=1) as world:
        world.log(*events_of(600))
        lane = world.assign()
        await world.run()
        assert not lane.stopped
        assert len(world.kafka.records(world.topics.deadletter)) == 600


async def test_bad_data_never_stops_a_lane(world: World) -> None:
    """One emitter's rubbish is set aside, however much of it comes."""
    world.log(*[Output(b"acme", b"rubbish")] * 1_500, breaker("acme", "open"))
    lane = world.assign()
    await world.run()
    assert not lane.stopped
    assert lane.position == 1_501
    assert len(world.kafka.records(world.topics.deadletter)) == 1_500
