"""The fence: whatever fails, is refused or is owned twice, each record is applied exactly once."""

import pytest
from structlog.testing import capture_logs

from tests.support.fakes import settle
from tests.support.invariants import assert_fenced
from tests.support.outputs import breaker, operation, rules
from tests.support.world import World
from tests.unit.worker.applied_once import assert_applied_once


@pytest.mark.parametrize("method", ["load", "commit"])
async def test_a_refused_call_makes_the_lane_look_again_and_go_on_from_there(world: World, method: str) -> None:
    """Someone else has applied the first record while this lane was about to."""
    lane = world.assign()
    await world.run()
    waiting = world.store.faults.hold(method)
    world.log(breaker("acme", "open"))
    await world.run()
    before = world.store.snapshot()
    other = world.join()
    del world.store.faults.delayed[method]
    other.lanes.assign([0])
    await world.run()
    assert world.stored().next == 1
    applied = world.store.snapshot()
    with capture_logs() as logs:
        waiting.set()
        await world.run()
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["fence_refused"]
    assert lane.position == 1
    assert lane.problem is None
    assert world.worker.metrics.registry.get_sample_value("sleep_worker_fence_refusals_total") == 1
    assert_fenced(vars(applied[0]), vars(world.stored()))
    assert before[0] != applied[0]
    world.log(breaker("acme", "closed"))
    await world.run()
    assert_applied_once(world)


async def test_two_owners_of_a_partition_apply_each_record_once_between_them(world: World) -> None:
    """A stale owner reads the same records. The second commit is refused, and its lane follows the first."""
    stale, present = world.assign(), world.join()
    present.lanes.assign([0])
    for number in range(30):
        world.log(
            breaker(f"tenant-{number % 4}", "open" if number % 3 else "closed"),
            operation("acme", f"op-{number}"),
        )
        await world.run()
    assert world.stored().next == 60
    assert stale.position == 60
    assert_applied_once(world)


async def test_a_commit_whose_answer_is_lost_is_found_done(world: World) -> None:
    """The lane reads its position again and does not fold the batch a second time."""
    lane = world.assign()
    await world.run()
    world.store.faults.lost.append("commit")
    world.log(breaker("acme", "open"))
    await world.advance(1)
    assert world.store.faults.calls["commit"] == 1
    assert lane.position == 1
    assert lane.problem is None
    world.log(breaker("acme", "closed"))
    await world.run()
    assert_applied_once(world)


async def test_a_load_whose_answer_is_lost_is_asked_again(world: World) -> None:
    """Nothing has happened yet."""
    world.assign()
    await world.run()
    world.store.faults.lost.append("load")
    world.log(breaker("acme", "open"))
    await world.advance(1)
    assert_applied_once(world)
    assert world.stored().next == 1


async def test_outputs_that_were_sent_before_a_failed_commit_are_sent_again_the_same(world: World) -> None:
    """Whoever reads the topics may see a record twice, and never two different ones."""
    world.assign()
    await world.run()
    world.store.faults.down.add("commit")
    world.log(breaker("acme", "open"))
    await world.run()
    world.store.faults.heal()
    await world.advance(1)
    sent = world.kafka.records(world.topics.states)
    assert [record.offset for record in sent] == [0, 1]
    assert sent[0].value == sent[1].value
    assert_applied_once(world)


async def test_a_store_that_lost_its_last_second_is_brought_to_the_same_state_again(world: World) -> None:
    """The next load is refused, and the lost records are folded anew, rules among them."""
    world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    snapshot = world.store.snapshot()
    world.log(rules({"policy": {"ceiling": "deep"}}), breaker("acme", "half_open"), operation("acme", "op-1"))
    await world.run()
    world.store.restore(snapshot)
    world.log(breaker("other", "open"))
    await world.run()
    assert world.stored().next == world.events().end > 4
    assert_applied_once(world)


async def test_a_refusal_drops_what_the_lane_remembers(world: World) -> None:
    """What it knows may have been overtaken, so the records are loaded again."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    loads = world.store.faults.calls["load"]
    lane.reread_position()
    world.log(breaker("acme", "closed"))
    await world.run()
    assert world.store.faults.calls["load"] == loads + 1
    assert_applied_once(world)


async def test_a_lane_told_to_look_again_during_a_batch_finishes_it_first(
    world: World,
) -> None:
    """The timers may notice something at any moment."""
    lane = world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(breaker("acme", "open"))
    await world.run()
    lane.reread_position()
    committing.set()
    await world.run()
    world.log(breaker("acme", "closed"))
    await world.run()
    assert lane.position == 2
    assert_applied_once(world)


async def test_a_hole_that_is_found_with_a_batch_in_hand_is_read_again_after_it(world: World) -> None:
    """What was fetched above the expected offset is dropped, and the lane seeks."""
    lane = world.assign()
    await world.run()
    committing = world.store.faults.hold("commit")
    world.log(breaker("acme", "open"))
    await world.run()
    world.log(breaker("acme", "half_open"), breaker("acme", "closed"))
    world.worker.consumer.lose(0, 1)
    await world.run()
    committing.set()
    await world.run()
    assert lane.position == 3
    assert_applied_once(world)


async def test_a_hole_is_dropped_and_read_again(world: World) -> None:
    """A batch that does not begin where the last one ended is no gap unless a seek came before."""
    lane = world.assign()
    world.log(breaker("acme", "open"))
    await world.run()
    world.log(breaker("acme", "half_open"), breaker("acme", "closed"))
    world.worker.consumer.lose(0, 1)
    with capture_logs() as logs:
        await world.run()
    assert [(line["event"], line["expected"], line["actual"]) for line in logs] == [("batch_lost", 1, 2)]
    assert lane.position == 3
    assert_applied_once(world)


async def test_a_seek_drops_what_was_fetched_before_it(world: World) -> None:
    """A batch of an older generation is not folded, though it is the one that follows."""
    lane = world.assign()
    await world.run()
    generation = lane.fetch_buffer.generation
    lane.reread_position()
    await settle()
    assert lane.fetch_buffer.generation > generation
    acknowledged: list[bool] = []
    world.log(breaker("acme", "open"))
    stale = world.worker.consumer.fetched(0, generation)
    lane.offer(stale, lambda: acknowledged.append(True))
    await settle()
    assert acknowledged == [True]
    assert lane.position == 0
    await world.run()
    assert lane.position == 1
