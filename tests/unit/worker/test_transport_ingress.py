"""The transport's ingress topics: where they begin, and what of them is committed for the group."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.types import TP, Message

from tests.fakes import settle
from tests.unit.worker.consumer import EVENTS, INGRESS, Consumer, fill
from tests.world import World


async def test_ingress_topics_are_fetched_whatever_the_lanes_do(faust: Consumer) -> None:
    """They belong to no lane."""
    found = await faust.fetch(0, more=(INGRESS,))
    assert faust.thread.fetches[0][1] == {INGRESS}
    [batch] = found[INGRESS]
    assert batch.records[0].offset == 6


async def test_an_ingress_partition_begins_at_what_the_group_has_committed(faust: Consumer) -> None:
    """Once, and then it is followed."""
    faust.thread.offsets[INGRESS] = 5
    await faust.fetch(more=(INGRESS,))
    await faust.fetch(more=(INGRESS,))
    assert [seeks for seeks, _, _ in faust.thread.fetches] == [{INGRESS: 5}, {}]


async def test_after_an_assignment_ingress_begins_anew_and_what_was_fetched_before_is_dropped(faust: Consumer) -> None:
    """Faust drops what it had queued at a rebalance, and the consumer may have read on: whatever is not committed."""
    await faust.fetch(more=(INGRESS,))
    gate = faust.thread.gate = asyncio.Event()
    fetching = asyncio.create_task(faust.fetch(more=(INGRESS,)))
    await settle()
    await faust.consumer.on_partitions_assigned({INGRESS}, 2)
    gate.set()
    assert await fetching == {}
    faust.thread.offsets[INGRESS] = 3
    [batch] = (await faust.fetch(more=(INGRESS,)))[INGRESS]
    assert batch.records
    assert faust.thread.fetches[-1][0] == {INGRESS: 3}


async def test_where_a_fetch_failed_ingress_is_sought_once_more(faust: Consumer) -> None:
    """Whether the seek before it was carried out, nobody has said."""
    faust.thread.offsets[INGRESS] = 5
    faust.thread.error = KafkaConnectionError("the consumer's thread has ended")
    with pytest.raises(KafkaConnectionError):
        await faust.fetch(more=(INGRESS,))
    faust.thread.error = None
    await faust.fetch(more=(INGRESS,))
    assert [seeks for seeks, _, _ in faust.thread.fetches] == [{INGRESS: 5}, {INGRESS: 5}]


async def test_an_ingress_partition_whose_offset_is_not_known_waits_and_keeps_nobody(
    world: World, faust: Consumer
) -> None:
    """The lanes go on."""
    fill(world, 0)
    world.worker.lanes.assign([0])
    await settle()
    faust.thread.away = True
    assert set(await faust.fetch(0, more=(INGRESS,))) == {TP(EVENTS, 0)}
    faust.thread.away = False
    assert INGRESS in await faust.fetch(0, more=(INGRESS,))


async def test_an_ingress_partition_that_was_given_up_meanwhile_is_not_sought(faust: Consumer) -> None:
    """The consumer would raise, and the worker begin anew."""
    faust.thread.given_up = {INGRESS}
    assert await faust.fetch(more=(INGRESS,)) == {}
    assert faust.thread.fetches == []


def message_of(tp: TP, offset: int) -> Message:
    """Return a message as the agent acknowledges it."""
    return Message(tp.topic, tp.partition, offset, 0.0, 0, [], None, None, None, tp=tp)


async def test_an_ingress_batch_is_committed_when_it_was_acknowledged(faust: Consumer) -> None:
    """Ingress has no place of its own to keep its position."""
    await faust.fetch(more=(INGRESS,))
    assert faust.consumer.ack(message_of(INGRESS, 6))
    await faust.commit()
    await faust.commit()
    assert faust.thread.commits == [{INGRESS: 7}]


async def test_an_ingress_commit_that_failed_is_tried_again(faust: Consumer) -> None:
    """Otherwise the batch would be forwarded again after the next start."""
    await faust.fetch(more=(INGRESS,))
    assert faust.consumer.ack(message_of(INGRESS, 6))
    faust.thread.failing = True
    await faust.commit()
    faust.thread.failing = False
    await faust.commit()
    await faust.commit()
    assert faust.thread.commits == [{INGRESS: 7}] * 2


async def test_an_acknowledgement_that_comes_after_the_partition_was_given_up_counts_for_nothing(
    faust: Consumer,
) -> None:
    """Its present owner knows better; and nobody may commit for a partition that is somebody else's."""
    await faust.fetch(more=(INGRESS,))
    await faust.consumer.on_partitions_assigned(set(), 2)
    assert faust.consumer.ack(message_of(INGRESS, 6))
    await faust.commit()
    assert faust.thread.commits == []


async def test_what_was_acknowledged_under_an_earlier_assignment_is_not_committed(faust: Consumer) -> None:
    """Another member may have gone further meanwhile."""
    await faust.fetch(more=(INGRESS,))
    assert faust.consumer.ack(message_of(INGRESS, 6))
    await faust.consumer.on_partitions_assigned({INGRESS}, 2)
    await faust.commit()
    assert faust.thread.commits == []


async def test_an_acknowledgement_counts_once(world: World, faust: Consumer) -> None:
    """And that of an events batch moves nothing: the lane says what is applied."""
    await faust.fetch(more=(INGRESS,))
    message = message_of(INGRESS, 6)
    assert faust.consumer.ack(message)
    assert not faust.consumer.ack(message)
    world.assign(0)
    await world.run()
    assert faust.consumer.ack(message_of(TP(EVENTS, 0), 41))
    await faust.commit()
    assert faust.thread.commits == [{TP(EVENTS, 0): 0, INGRESS: 7}]
