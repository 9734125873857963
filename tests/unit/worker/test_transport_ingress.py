"""The transport's ingress topics: where they begin, and what of them is committed for the group."""
# ruff: noqa: SLF001 - Faust lets itself be extended only through names that begin with an underscore

import asyncio
from unittest.mock import AsyncMock

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from faust.types import TP
from structlog.testing import capture_logs

from tests.support.fakes import settle
from tests.support.world import World
from tests.unit.worker.consumer import INGRESS, IngressConsumer, fill

pytestmark = pytest.mark.partitions(4)


async def test_an_ingress_partition_begins_at_what_the_group_has_committed(ingress: IngressConsumer) -> None:
    """Once, and then it is followed."""
    ingress.kafka.offsets[INGRESS] = 5
    await ingress.fetch(more=(INGRESS,))
    await ingress.fetch(more=(INGRESS,))
    assert [seeks for seeks, _, _ in ingress.kafka.fetches] == [{INGRESS: 5}, {}]


async def test_after_an_assignment_ingress_drops_earlier_fetches_and_restarts(
    ingress: IngressConsumer,
) -> None:
    """Faust drops what it had queued at a rebalance, and the consumer may have read on: whatever is not committed."""
    await ingress.fetch(more=(INGRESS,))
    gate = ingress.kafka.gate = asyncio.Event()
    fetching = asyncio.create_task(ingress.fetch(more=(INGRESS,)))
    await settle()
    await ingress.consumer.on_partitions_assigned({INGRESS}, 2)
    gate.set()
    assert await fetching == {}
    ingress.kafka.offsets[INGRESS] = 3
    batch = (await ingress.fetch(more=(INGRESS,)))[INGRESS]
    assert batch.records
    assert ingress.kafka.fetches[-1][0] == {INGRESS: 3}


async def test_where_a_fetch_failed_ingress_is_sought_once_more(ingress: IngressConsumer) -> None:
    """Whether the seek before it was carried out, nobody has said."""
    ingress.kafka.offsets[INGRESS] = 5
    ingress.kafka.error = KafkaConnectionError("the consumer's thread has ended")
    with pytest.raises(KafkaConnectionError):
        await ingress.fetch(more=(INGRESS,))
    ingress.kafka.error = None
    await ingress.fetch(more=(INGRESS,))
    assert [seeks for seeks, _, _ in ingress.kafka.fetches] == [{INGRESS: 5}, {INGRESS: 5}]


async def test_an_ingress_partition_whose_offset_is_not_known_waits_a_round(ingress: IngressConsumer) -> None:
    """Its coordinator is away, say."""
    ingress.kafka.away = True
    assert await ingress.fetch(more=(INGRESS,)) == {}
    ingress.kafka.away = False
    assert INGRESS in await ingress.fetch(more=(INGRESS,))


async def test_a_group_that_has_committed_nothing_takes_over_what_the_lanes_group_had(
    ingress: IngressConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a day of breaker events would be forwarded again after an upgrade."""
    former = AsyncMock(return_value={INGRESS: 41})
    monkeypatch.setattr("worker.runtime.faust.ingress_transport.former_offsets", former)
    ingress.kafka.default = None
    await ingress.fetch(more=(INGRESS,))
    assert ingress.kafka.fetches[0][0] == {INGRESS: 41}
    await ingress.commit()
    assert ingress.kafka.commits == [{INGRESS: 41}]
    former.assert_awaited_once()


async def test_what_neither_group_has_committed_begins_where_the_log_does(
    world: World, ingress: IngressConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a new installation."""
    monkeypatch.setattr("worker.runtime.faust.ingress_transport.former_offsets", AsyncMock(return_value={}))
    ingress.kafka.default = None
    fill(world, INGRESS.partition)
    world.events(INGRESS.partition).trim(2)
    await ingress.fetch(more=(INGRESS,))
    assert ingress.kafka.fetches[0][0] == {INGRESS: 2}


async def test_a_topic_that_may_not_be_read_is_told_and_stops_no_other(
    ingress: IngressConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer goes on; once nothing is refused any more, nothing is told."""
    ingress.kafka.error = TopicAuthorizationFailedError(INGRESS.topic)
    with capture_logs() as logs:
        assert await ingress.fetch(more=(INGRESS,)) == {}
        assert await ingress.fetch(more=(INGRESS,)) == {}
    assert [line["event"] for line in logs] == ["ingress_refused"]
    assert "does not let this worker read sleep.breakers" in ingress.problems[INGRESS.topic]
    ingress.kafka.error = None
    monkeypatch.setattr("worker.runtime.faust.ingress_transport._REFUSAL_SECONDS", -1.0)
    assert INGRESS in await ingress.fetch(more=(INGRESS,))
    ingress.consumer.check_refusals()
    assert ingress.problems == {}


async def test_a_topic_that_kafka_does_not_describe_is_told_for_as_long(
    ingress: IngressConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the ACL Describe it has no partitions, so that nothing is fetched of it and no fetch is refused."""
    ingress.kafka.refused = {INGRESS.topic}
    ingress.consumer.check_refusals()
    assert "does not let this worker read sleep.breakers" in ingress.problems[INGRESS.topic]
    monkeypatch.setattr("worker.runtime.faust.ingress_transport._REFUSAL_SECONDS", -1.0)
    ingress.kafka.refused = set()
    ingress.consumer.check_refusals()
    assert ingress.problems == {}


async def test_an_ingress_partition_that_was_given_up_meanwhile_is_not_sought(ingress: IngressConsumer) -> None:
    """The consumer would raise, and the worker begin anew."""
    ingress.kafka.given_up = {INGRESS}
    assert await ingress.fetch(more=(INGRESS,)) == {}
    assert ingress.kafka.fetches == []


async def test_a_full_forwarder_is_fetched_nothing_for_and_is_asked_again_soon(ingress: IngressConsumer) -> None:
    """A batch of an emitter's may expand to a hundred times its size, and Faust queues sixty-four."""
    await ingress.fetch(more=(INGRESS,))
    ingress.outputs.faults.hold("send")
    for offset in range(4):
        await ingress.forwarded(offset, size=1 << 20)
    assert await ingress.fetch(more=(INGRESS,)) == {}
    assert len(ingress.kafka.fetches) == 1
    assert ingress.naps == [0.02]


async def test_an_ingress_batch_is_committed_when_it_was_forwarded(ingress: IngressConsumer) -> None:
    """Ingress has no place of its own to keep its position."""
    await ingress.fetch(more=(INGRESS,))
    await ingress.forwarded(6)
    await ingress.commit()
    await ingress.commit()
    assert ingress.kafka.commits == [{INGRESS: 7}]


async def test_an_ingress_batch_that_was_not_published_is_not_committed(ingress: IngressConsumer) -> None:
    """It comes again."""
    await ingress.fetch(more=(INGRESS,))
    ingress.outputs.faults.down.add("send")
    await ingress.forwarded(6)
    await ingress.commit()
    assert ingress.kafka.commits == []


async def test_an_ingress_commit_that_failed_is_tried_again(ingress: IngressConsumer) -> None:
    """Otherwise the batch would be forwarded again after the next start."""
    await ingress.fetch(more=(INGRESS,))
    await ingress.forwarded(6)
    ingress.kafka.failing = True
    await ingress.commit()
    ingress.kafka.failing = False
    await ingress.commit()
    await ingress.commit()
    assert ingress.kafka.commits == [{INGRESS: 7}] * 2


async def test_what_was_forwarded_before_the_partition_was_given_up_is_committed(ingress: IngressConsumer) -> None:
    """As Faust gives the partition up; what is published then is finished first."""
    await ingress.fetch(more=(INGRESS,))
    release = ingress.outputs.faults.hold("send")
    await ingress.forwarded(6)
    giving_up = asyncio.create_task(ingress.consumer.on_partitions_revoked({INGRESS}))
    await settle()
    assert not giving_up.done()
    release.set()
    await giving_up
    assert ingress.kafka.commits == [{INGRESS: 7}]


async def test_what_was_forwarded_under_an_earlier_assignment_is_not_committed(ingress: IngressConsumer) -> None:
    """Another member may have gone further meanwhile; and a batch that Faust had queued is read again."""
    await ingress.fetch(more=(INGRESS,))
    await ingress.forwarded(6)
    for assigned in (set[TP](), {INGRESS}):
        former = ingress.consumer._assignment_number
        await ingress.consumer.on_partitions_assigned(assigned, 2)
        await ingress.forwarded(6, assignment=former)
        await ingress.commit()
        assert ingress.kafka.commits == []
