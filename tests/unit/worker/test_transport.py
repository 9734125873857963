"""The transport: batches instead of messages, the lanes' seeks, and a group offset that tells the truth."""
# ruff: noqa: SLF001 - Faust lets itself be extended only through names that begin with an underscore

import asyncio

import pytest
from faust.types import TP

from tests.support.fakes import settle
from tests.support.world import World
from tests.unit.worker.consumer import EVENTS, INGRESS, Consumer, IngressConsumer, fill
from worker.partition.fetch_buffer import FetchedBatch

pytestmark = pytest.mark.partitions(4)


async def test_what_was_fetched_of_a_partition_is_one_batch(world: World, faust: Consumer) -> None:
    """Faust costs the same for one record and for thousands."""
    fill(world, 0)
    fill(world, 1, 2)
    world.worker.lanes.assign([0, 1])
    await settle()
    fetched = await faust.fetch(0, 1)
    assert {tp.partition: [len(batch.records) for batch in batches] for tp, batches in fetched.items()} == {
        0: [3],
        1: [2],
    }
    assert all(type(tp) is TP for tp in fetched)


async def test_partitions_with_nothing_new_are_left_out(world: World, faust: Consumer) -> None:
    """A batch is never empty."""
    world.worker.lanes.assign([0])
    await settle()
    assert await faust.fetch(0) == {}


async def test_a_lanes_seek_is_carried_out_once_before_the_fetch(world: World, faust: Consumer) -> None:
    """And what comes is tagged with the generation of that seek."""
    fill(world, 0)
    world.stored(0).progress[b"next"] = b"1"
    world.worker.lanes.assign([0])
    await settle()
    lane = world.worker.lanes.get(0)
    assert lane is not None
    first = await faust.fetch(0)
    fill(world, 0)
    second = await faust.fetch(0)
    assert [seeks for seeks, _, _ in faust.thread.fetches] == [{TP(EVENTS, 0): 1}, {}]
    [batch] = first[TP(EVENTS, 0)]
    assert (batch.generation, batch.records[0].offset) == (lane.fetch_buffer.generation, 1)
    assert second[TP(EVENTS, 0)][0].records[0].offset == 3


async def test_the_batch_after_a_later_seek_has_a_later_generation(world: World, faust: Consumer) -> None:
    """So that what was fetched before it can be told apart."""
    fill(world, 0)
    lane = world.assign(0)
    await settle()
    [before] = (await faust.fetch(0))[TP(EVENTS, 0)]
    lane.reread_position()
    await settle()
    [after] = (await faust.fetch(0))[TP(EVENTS, 0)]
    assert after.generation > before.generation
    assert after.records[0].offset == before.records[0].offset == 0


async def test_faust_passes_on_what_comes_again_after_a_seek(world: World, faust: Consumer) -> None:
    """It would drop a message below the last one that it saw."""
    fill(world, 0)
    lane = world.assign(0)
    await settle()
    await faust.fetch(0)
    faust.consumer._read_offset[TP(EVENTS, 0)] = 99
    lane.reread_position()
    await settle()
    await faust.fetch(0)
    assert faust.consumer._read_offset[TP(EVENTS, 0)] is None


async def test_a_closed_lane_is_not_fetched_and_asked_again_soon(world: World, faust: Consumer) -> None:
    """The others go on meanwhile, with a short wait."""
    looking = world.store.faults.hold("partition_status")
    world.worker.lanes.assign([0])
    await settle()
    del world.store.faults.delayed["partition_status"]
    world.worker.lanes.assign([1])
    await settle()
    await faust.fetch(0, 1, 2)
    assert faust.thread.fetches == [({TP(EVENTS, 1): 0}, {TP(EVENTS, 1)}, 0.02)]
    looking.set()


async def test_with_every_lane_open_the_fetch_may_take_its_time(world: World, faust: Consumer) -> None:
    """It ends as soon as there is something."""
    world.worker.lanes.assign([0])
    await settle()
    await faust.fetch(0)
    assert faust.thread.fetches[0][2] == 1.0


async def test_nothing_wanted_is_no_fetch_at_all(faust: Consumer) -> None:
    """To aiokafka no partition means every partition."""
    assert await faust.fetch(0, 1) == {}
    assert await faust.consumer._getmany(None, 1.0) == {}
    assert faust.thread.fetches == []
    assert faust.naps == [0.02, 0.02]


async def test_a_fetch_that_ends_after_faust_left_is_handed_over_at_its_next_call(
    ingress: IngressConsumer,
) -> None:
    """It cancels its call to stop the fetcher; the consumer in the thread has read on all the same."""
    gate = ingress.thread.gate = asyncio.Event()
    fetching = asyncio.create_task(ingress.fetch(more=(INGRESS,)))
    await settle()
    fetching.cancel()
    await asyncio.wait([fetching])
    gate.set()
    [batch] = (await ingress.fetch(more=(INGRESS,)))[INGRESS]
    assert batch.records[0].offset == 6
    assert len(ingress.thread.fetches) == 1


async def test_a_fetch_under_way_ends_with_the_consumer(ingress: IngressConsumer) -> None:
    """And nobody is told of it."""
    ingress.thread.gate = asyncio.Event()
    fetching = asyncio.create_task(ingress.fetch(more=(INGRESS,)))
    await settle()
    fetching.cancel()
    await asyncio.wait([fetching])
    await ingress.consumer.on_stop()
    assert ingress.consumer._fetch is None


async def test_what_was_fetched_for_a_lane_that_has_been_replaced_is_dropped(world: World, faust: Consumer) -> None:
    """A new lane counts its generations from the beginning, and would take the batch for its own."""
    fill(world, 0)
    world.worker.lanes.assign([0])
    await settle()
    gate = faust.thread.gate = asyncio.Event()
    fetching = asyncio.create_task(faust.fetch(0))
    await settle()
    await world.worker.lanes.revoke([0])
    world.worker.lanes.assign([0])
    await settle()
    gate.set()
    assert await fetching == {}


async def test_a_batch_becomes_one_message_at_its_last_offset(world: World, faust: Consumer) -> None:
    """Faust hands it to the agent as it is."""
    fill(world, 0)
    world.worker.lanes.assign([0])
    await settle()
    tp = TP(EVENTS, 0)
    faust.consumer._set_active_tps({tp})
    [(matching, message)] = [item async for item in faust.consumer.getmany(1.0)]
    assert matching == tp
    assert (message.topic, message.partition, message.offset) == (EVENTS, 0, 2)
    assert message.timestamp == world.clock.now() / 1000
    batch: object = message.value
    assert isinstance(batch, FetchedBatch)
    assert len(batch.records) == 3


async def test_the_groups_offset_is_what_the_lane_has_applied(world: World, faust: Consumer) -> None:
    """Not what was fetched or acknowledged; so the lag that others see is true."""
    fill(world, 0)
    world.assign(0)
    world.assign(1)
    await world.run()
    await faust.commit()
    assert faust.thread.commits == [{TP(EVENTS, 0): 3, TP(EVENTS, 1): 0}]
    committing = world.store.faults.hold("commit")
    fill(world, 0)
    await world.run()
    await faust.commit()
    assert len(faust.thread.commits) == 1
    committing.set()
    await world.run()
    await faust.commit()
    assert faust.thread.commits[1:] == [{TP(EVENTS, 0): 6}]


async def test_a_lane_without_a_position_commits_nothing_for_the_group(world: World, faust: Consumer) -> None:
    """Nobody knows yet."""
    world.store.faults.hold("partition_status")
    world.assign(0)
    await settle()
    await faust.commit()
    assert faust.thread.commits == []
    assert faust.consumer._new_offset(TP(EVENTS, 3)) is None


async def test_a_commit_that_failed_is_tried_again_though_nothing_new_came(world: World, faust: Consumer) -> None:
    """Otherwise an idle partition would show a lag for ever."""
    fill(world, 0)
    world.assign(0)
    await world.run()
    faust.thread.failing = True
    await faust.commit()
    faust.thread.failing = False
    await faust.commit()
    await faust.commit()
    assert faust.thread.commits == [{TP(EVENTS, 0): 3}] * 2


async def test_lanes_are_made_when_their_partitions_come(faust: Consumer) -> None:
    """Of the events topic only."""
    await faust.consumer.on_partitions_assigned({TP(EVENTS, 0), TP(EVENTS, 2)}, 1)
    assert faust.steps == [("assigned", [0, 2])]


async def test_lanes_have_ended_before_faust_gives_their_partitions_up(world: World, faust: Consumer) -> None:
    """Whoever gets them next finds the batch in hand committed."""
    await faust.consumer.on_partitions_assigned({TP(EVENTS, 0), TP(EVENTS, 1)}, 1)
    await world.run()
    committing = world.store.faults.hold("commit")
    fill(world, 0)
    await world.run()
    revoking = asyncio.create_task(faust.consumer.on_partitions_revoked({TP(EVENTS, 0)}))
    await settle()
    assert [name for name, _ in faust.steps] == ["assigned"]
    committing.set()
    await revoking
    assert faust.steps[1:] == [("revoked", [1])]
    assert world.stored(0).next == 3


async def test_faust_does_not_seek_by_itself(faust: Consumer) -> None:
    """Where to start is what Redis says."""
    assert await faust.consumer.seek_to_committed() == {}
    faust.consumer._read_offset[TP(EVENTS, 0)] = 5
    await faust.consumer.perform_seek()
    assert faust.consumer._read_offset[TP(EVENTS, 0)] == 5


async def test_faust_keeps_no_book_of_the_offsets_between_two_batches(faust: Consumer) -> None:
    """It would be millions."""
    await faust.consumer._add_gap(TP(EVENTS, 0), 5, 5_000_000)
    assert TP(EVENTS, 0) not in faust.consumer._gap


async def test_the_bounds_of_a_partition_are_asked_of_the_broker(world: World, faust: Consumer) -> None:
    """Where the log begins, and where it ends."""
    fill(world, 2)
    world.events(2).trim(1)
    assert await faust.consumer.offset_range(2) == (1, 3)
