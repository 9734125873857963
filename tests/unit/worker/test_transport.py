"""The transport: batches instead of messages, the lanes' seeks, and a group offset that is what was applied."""
# ruff: noqa: SLF001 - Faust lets itself be extended only through names that begin with an underscore

import asyncio
from contextlib import nullcontext

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaConnectionError
from faust.types import TP
from structlog.testing import capture_logs

from tests.support.fakes import settle
from tests.support.world import World
from tests.unit.worker.consumer import EVENTS, Consumer, fill
from worker.partition.fetch_buffer import FetchedBatch

pytestmark = pytest.mark.partitions(4)


async def test_what_was_fetched_of_a_partition_is_one_batch(world: World, faust: Consumer) -> None:
    """Faust costs the same for one record and for thousands."""
    fill(world, 0)
    fill(world, 1, 2)
    world.worker.lanes.assign([0, 1])
    await settle()
    fetched = await faust.fetch(0, 1)
    assert {tp.partition: len(batch.records) for tp, batch in fetched.items()} == {0: 3, 1: 2}
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
    assert [seeks for seeks, _, _ in faust.kafka.fetches] == [{TP(EVENTS, 0): 1}, {}]
    batch = first[TP(EVENTS, 0)]
    assert (batch.generation, batch.records[0].offset) == (lane.fetch_buffer.generation, 1)
    assert second[TP(EVENTS, 0)].records[0].offset == 3


async def test_the_batch_after_a_later_seek_has_a_later_generation(world: World, faust: Consumer) -> None:
    """So that what was fetched before it can be told apart."""
    fill(world, 0)
    lane = world.assign(0)
    await settle()
    before = (await faust.fetch(0))[TP(EVENTS, 0)]
    lane.reread_position()
    await settle()
    after = (await faust.fetch(0))[TP(EVENTS, 0)]
    assert after.generation > before.generation
    assert after.records[0].offset == before.records[0].offset == 0


async def test_a_closed_lane_is_not_fetched_and_asked_again_soon(world: World, faust: Consumer) -> None:
    """The others go on meanwhile, with a short wait."""
    looking = world.store.faults.hold("partition_status")
    world.worker.lanes.assign([0])
    await settle()
    del world.store.faults.delayed["partition_status"]
    world.worker.lanes.assign([1])
    await settle()
    await faust.fetch(0, 1, 2)
    assert faust.kafka.fetches == [({TP(EVENTS, 1): 0}, {TP(EVENTS, 1)}, 0.02)]
    looking.set()


async def test_with_every_lane_open_the_fetch_may_take_its_time(world: World, faust: Consumer) -> None:
    """It ends as soon as there is something."""
    world.worker.lanes.assign([0])
    await settle()
    await faust.fetch(0)
    assert faust.kafka.fetches[0][2] == 1.0


async def test_nothing_wanted_is_no_fetch_at_all(faust: Consumer) -> None:
    """To aiokafka no partition means every partition."""
    assert await faust.fetch(0, 1) == {}
    assert await faust.fetch() == {}
    assert faust.kafka.fetches == []
    assert faust.naps == [0.02, 0.02]


async def test_a_fetch_that_faust_cancels_loses_no_seek(world: World, faust: Consumer) -> None:
    """It cancels its call to stop the fetcher; the next call goes on where the seek has led."""
    fill(world, 0)
    world.stored(0).progress[b"next"] = b"2"
    world.worker.lanes.assign([0])
    await settle()
    gate = faust.kafka.gate = asyncio.Event()
    fetching = asyncio.create_task(faust.fetch(0))
    await settle()
    fetching.cancel()
    await asyncio.wait([fetching])
    gate.set()
    batch = (await faust.fetch(0))[TP(EVENTS, 0)]
    assert [record.offset for record in batch.records] == [2]
    assert [seeks for seeks, _, _ in faust.kafka.fetches] == [{TP(EVENTS, 0): 2}, {}]


async def test_what_was_fetched_for_a_lane_that_has_been_replaced_is_dropped(world: World, faust: Consumer) -> None:
    """The new lane has not sought yet."""
    fill(world, 0)
    world.worker.lanes.assign([0])
    await settle()
    gate = faust.kafka.gate = asyncio.Event()
    fetching = asyncio.create_task(faust.fetch(0))
    await settle()
    await world.worker.lanes.revoke([0])
    world.worker.lanes.assign([0])
    await settle()
    gate.set()
    world.worker.lanes.offer(0, (await fetching)[TP(EVENTS, 0)], lambda: None)
    await settle()
    lane = world.worker.lanes.get(0)
    assert lane is not None
    assert lane.position == 0


async def test_each_batch_is_one_message_at_its_last_offset(world: World, faust: Consumer) -> None:
    """Faust hands it to the agent as it is."""
    fill(world, 0)
    await faust.assign(0)
    await settle()
    async with faust.draining():
        pass
    [message] = faust.messages
    assert (message.topic, message.partition, message.offset) == (EVENTS, 0, 2)
    assert message.timestamp == world.clock.now() / 1000
    assert isinstance(message.value, FetchedBatch)
    assert len(message.value.records) == 3


async def test_nothing_is_fetched_while_faust_has_stopped_the_flow(world: World, faust: Consumer) -> None:
    """It does so for a rebalance."""
    fill(world, 0)
    await faust.assign(0)
    await settle()
    faust.consumer.stop_flow()
    async with faust.draining():
        assert faust.kafka.fetches == []
        faust.consumer.resume_flow()
        assert faust.kafka.next_round is not None
        faust.kafka.next_round.set()
        await settle()
    assert len(faust.messages) == 1


async def test_what_arrives_after_a_rebalance_is_not_passed_on(world: World, faust: Consumer) -> None:
    """It was fetched under another generation."""
    fill(world, 0)
    await faust.assign(0)
    await settle()
    faust.kafka.gate = asyncio.Event()
    async with faust.draining():
        faust.app.consumer_generation_id += 1
        faust.kafka.gate.set()
        await settle()
    assert faust.kafka.fetches
    assert faust.messages == []


async def test_an_error_of_a_fetch_is_fausts_to_handle(faust: Consumer) -> None:
    """The consumer is restarted after it."""
    await faust.assign(0)
    await settle()
    faust.kafka.error = KafkaConnectionError("away")
    with pytest.raises(KafkaConnectionError, match="away"):
        await faust.consumer._drain_messages(faust.fetcher)


@pytest.mark.parametrize("stopping", [False, True])
async def test_a_consumer_that_was_closed_is_no_error_while_the_app_stops(faust: Consumer, *, stopping: bool) -> None:
    """Only then."""
    await faust.assign(0)
    await settle()
    faust.kafka.error = ConsumerStoppedError()
    if stopping:
        faust.app._stopped.set()
    with nullcontext() if stopping else pytest.raises(ConsumerStoppedError):
        await faust.consumer._drain_messages(faust.fetcher)


async def test_the_groups_offset_is_what_the_lane_has_applied(world: World, faust: Consumer) -> None:
    """Not what was fetched or acknowledged; so the lag that others see is true."""
    fill(world, 0)
    await faust.assign(0, 1)
    await world.run()
    await faust.commit()
    assert faust.kafka.commits == [{TP(EVENTS, 0): 3, TP(EVENTS, 1): 0}]
    committing = world.store.faults.hold("commit")
    fill(world, 0)
    await world.run()
    await faust.commit()
    assert len(faust.kafka.commits) == 1
    committing.set()
    await world.run()
    await faust.commit()
    assert faust.kafka.commits[1:] == [{TP(EVENTS, 0): 6}]


async def test_a_lane_without_a_position_commits_nothing_for_the_group(world: World, faust: Consumer) -> None:
    """Its position in Redis is not read yet."""
    world.store.faults.hold("partition_status")
    await faust.assign(0)
    await settle()
    await faust.commit()
    assert faust.kafka.commits == []


async def test_a_commit_that_failed_is_tried_again_though_nothing_new_came(world: World, faust: Consumer) -> None:
    """Otherwise an idle partition would show a lag for ever."""
    fill(world, 0)
    await faust.assign(0)
    await world.run()
    faust.kafka.failing = True
    await faust.commit()
    faust.kafka.failing = False
    await faust.commit()
    await faust.commit()
    assert faust.kafka.commits == [{TP(EVENTS, 0): 3}] * 2


async def test_an_offset_of_a_partition_that_was_given_up_is_not_committed(world: World, faust: Consumer) -> None:
    """Aiokafka would raise an error, and commit none of the others."""
    fill(world, 0)
    await faust.assign(0, 1)
    await world.run()
    faust.kafka.given_up = {TP(EVENTS, 1)}
    await faust.commit()
    assert faust.kafka.commits == [{TP(EVENTS, 0): 3}]


async def test_the_last_commit_has_what_was_applied_during_the_periodic_one(world: World, faust: Consumer) -> None:
    """Faust would take the commit under way for the last one, and the group's offset would stay behind the lane's."""
    fill(world, 0)
    await faust.assign(0)
    await world.run()
    gate = faust.kafka.committing = asyncio.Event()
    periodic = asyncio.create_task(faust.consumer.commit())
    await settle()
    fill(world, 0)
    await world.run()
    last = asyncio.create_task(faust.consumer.on_stop())
    await settle()
    assert not last.done()
    gate.set()
    await last
    await periodic
    assert faust.kafka.commits == [{TP(EVENTS, 0): 3}, {TP(EVENTS, 0): 6}]


async def test_lanes_that_have_ended_before_the_stop_are_committed_too(world: World, faust: Consumer) -> None:
    """The supervisor ends them first."""
    fill(world, 0)
    await faust.assign(0)
    await world.run()
    await world.worker.lanes.end()
    await faust.consumer.on_stop()
    assert faust.kafka.commits == [{TP(EVENTS, 0): 3}]
    assert faust.kafka.stopped


@pytest.mark.parametrize("under_way", [False, True])
async def test_a_last_commit_that_kafka_does_not_answer_ends_in_time(
    world: World, faust: Consumer, monkeypatch: pytest.MonkeyPatch, *, under_way: bool
) -> None:
    """There must be time left to leave the group, also after a periodic commit that is not answered either."""
    fill(world, 0)
    await faust.assign(0)
    await world.run()
    gate = faust.kafka.committing = asyncio.Event()
    periodic = asyncio.create_task(faust.consumer.commit()) if under_way else None
    await settle()
    monkeypatch.setattr("worker.runtime.faust.transport._LAST_COMMIT_SECONDS", 0.0)
    with capture_logs() as logs:
        await faust.consumer.on_stop()
    assert [line["event"] for line in logs] == ["last_offset_not_committed"]
    assert len(faust.kafka.commits) == 1
    assert faust.kafka.stopped
    gate.set()
    if periodic is not None:
        await periodic


async def test_lanes_are_made_when_their_partitions_come(faust: Consumer) -> None:
    """Of the events topic only."""
    await faust.consumer.on_partitions_assigned({TP(EVENTS, 0), TP(EVENTS, 2)}, 1)
    assert faust.steps == [("assigned", [0, 2])]


async def test_lanes_are_ended_and_committed_before_faust_gives_them_up(world: World, faust: Consumer) -> None:
    """The next owner finds the batch in hand committed, and the group's offset behind it."""
    await faust.assign(0, 1)
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
    assert faust.kafka.commits == [{TP(EVENTS, 0): 3, TP(EVENTS, 1): 0}]


async def test_nothing_is_committed_while_the_group_joins(world: World, faust: Consumer) -> None:
    """Kafka refuses it, and the members would rebalance again and again."""
    await faust.assign(0)
    fill(world, 0)
    await world.run()
    await faust.consumer.on_partitions_revoked({TP(EVENTS, 0)})
    faust.kafka.commits.clear()
    await faust.consumer._commit_offsets({TP(EVENTS, 0): 3})
    assert faust.kafka.commits == []
    await faust.consumer.on_partitions_assigned({TP(EVENTS, 0)}, 2)
    await faust.consumer._commit_offsets({TP(EVENTS, 0): 3})
    assert faust.kafka.commits == [{TP(EVENTS, 0): 3}]


async def test_faust_learns_of_a_rebalance_and_of_its_generation(faust: Consumer) -> None:
    """A message of an earlier generation is dropped."""
    await faust.consumer.subscribe([EVENTS])
    topics, listener = faust.kafka.subscribed
    assert list(topics) == [EVENTS]
    await listener.on_partitions_assigned([TopicPartition(EVENTS, 2)])
    assert faust.app.consumer_generation_id == faust.kafka.generation
    await listener.on_partitions_revoked([TopicPartition(EVENTS, 2)])
    assert faust.app.rebalancing
    assert faust.steps == [("assigned", [2]), ("revoked", [])]


async def test_faust_does_not_seek_by_itself(faust: Consumer) -> None:
    """Where to start is what Redis says."""
    await faust.consumer.perform_seek()
    assert faust.kafka.fetches == []
    assert faust.kafka.asked == []


async def test_the_bounds_of_a_partition_are_asked_of_the_broker(world: World, faust: Consumer) -> None:
    """Where the log begins, and where it ends."""
    fill(world, 2)
    world.events(2).trim(1)
    assert await faust.consumer.offset_range(2) == (1, 3)
