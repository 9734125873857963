"""How a stream over a topic ends, what it leaves behind, and what it makes of an outage of Kafka or Redis."""

import pytest

from api.adapters.dependency import UnavailableError
from api.streaming import feed as feeds
from schemas.kafka.partitioner import partition_of
from tests.unit.api.topic import PARTITIONS, FakeTopic, Setup

ACME = partition_of("acme", PARTITIONS)


async def test_a_client_that_does_not_keep_up_is_dropped_with_what_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others go on."""
    monkeypatch.setattr(feeds, "QUEUE_ROWS", 5)
    async with Setup(FakeTopic()) as setup:
        slow, good = await setup.client(), await setup.client()
        await slow.chunk()
        await good.until_quiet()
        ids = []
        for event in range(6):
            ids.append(setup.topic.put("acme", event))
            await setup.topic.heard()
            if event < 5:
                assert not slow.listener.ended.done()
            await good.until(event + 1)
        assert slow.listener.ended.result() == "slow"
        assert len(slow.listener.rows) == 5
        assert not good.listener.ended.done()
        assert good.ids == ids


async def test_a_stream_that_ends_leaves_nothing_behind() -> None:
    """Neither in the gauge nor among those that are told."""
    async with Setup(FakeTopic()) as setup:
        async with setup.connected("acme", None, 0) as client:
            await client.until_quiet()
            assert setup.gauge() == "1.0"
        setup.topic.put("acme", 1)
        await setup.topic.heard()
        assert setup.gauge() == "0.0"
        assert not client.listener.rows


async def test_an_outage_of_kafka_is_bridged_without_a_gap() -> None:
    """The shared consumer goes on where it was; meanwhile nobody new is let in."""
    async with Setup(FakeTopic()) as setup:
        client = await setup.client()
        first = setup.topic.put("acme", 1)
        await setup.topic.heard()
        await client.until(1)
        await setup.lose()
        missed = setup.topic.put("acme", 2)
        with pytest.raises(UnavailableError, match="kafka: transitions: refused"):
            await (await setup.client()).chunk()
        await setup.hear()
        assert await client.until_quiet() == [first, missed]
        assert not client.listener.ended.done()


@pytest.mark.parametrize("how", ["trimmed", "made-anew"])
async def test_a_topic_that_is_not_where_it_was_ends_all_streams(how: str) -> None:
    """They come back with their ids, and are told what became of these."""
    topic = FakeTopic()
    for event in range(4):
        topic.put("acme", event)
    async with Setup(topic) as setup:
        client = await setup.client()
        await client.until_quiet()
        await setup.lose()
        if how == "trimmed":
            for event in range(4, 8):
                topic.put("acme", event)
            topic.kept[ACME] = 6
        else:
            topic.records[ACME] = []
        await setup.hear()
        assert client.listener.ended.result() == "lost"
        again = await setup.client(last_id=client.ids[-1])
        await again.until_quiet()
        assert len(again.named("reset")) == 1


async def test_when_the_process_stops_streams_end_those_to_come_too() -> None:
    """At once, whatever they are at."""
    async with Setup(FakeTopic()) as setup:
        client = await setup.client()
        setup.feed.release()
        late = await setup.client()
        assert client.listener.ended.result() == late.listener.ended.result() == "stopping"


async def test_kafka_away_while_reading_back_is_said_as_such() -> None:
    """Before anything was sent, it is a problem and no stream."""
    topic = FakeTopic()
    ids = [topic.put("acme", event) for event in range(9)]
    async with Setup(topic, kept=2) as setup:
        topic.down = ConnectionError("refused")
        with pytest.raises(UnavailableError, match="kafka: ConnectionError: refused"):
            await (await setup.client(last_id=ids[0])).chunk()
        topic.down = None


async def test_redis_away_is_no_stream() -> None:
    """A state is not made up."""
    async with Setup(FakeTopic()) as setup:
        setup.store.down.add("tenant")
        with pytest.raises(UnavailableError, match="redis"):
            await (await setup.client()).chunk()
