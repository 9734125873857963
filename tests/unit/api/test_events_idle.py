"""The transitions are read only while somebody listens, and nobody misses anything for that."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from api.adapters.dependency import UnavailableError, keep
from api.adapters.transitions import Reader
from api.streaming import feed as feeds
from api.streaming.feed import LINGER_SECONDS
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import new_record
from schemas.kafka.partitioner import partition_of
from tests.support.times import NOW
from tests.unit.api.topic import PARTITIONS, Client, FakeTopic, Setup


async def _until_idle(setup: Setup) -> None:
    """Let the feed notice that nobody has listened for a while."""
    setup.seconds += LINGER_SECONDS
    await setup.topic.heard()


async def test_nothing_is_read_while_no_stream_is_open() -> None:
    """The first connection only finds out whether the topic is there; the feed is well."""
    async with Setup(FakeTopic(), listened=False) as setup:
        for event in range(3):
            setup.topic.put("acme", event)
            await setup.topic.heard()
        assert (setup.topic.opened, setup.topic.reading) == (1, 0)
        assert (setup.dependency.up, setup.dependency.finding) == (
            True,
            "no stream is open; the topic is read once one opens",
        )


async def test_the_first_stream_begins_with_what_came_while_nothing_was_read() -> None:
    """The state, what the state lacks, and what comes from then on."""
    async with Setup(FakeTopic(), listened=False) as setup:
        setup.topic.put("acme", 7)
        pending = setup.topic.put("acme", 8)
        setup.store.records["acme"] = replace(new_record(BUILT_IN_RULES, NOW), offset=7)
        client = await setup.client()
        assert await client.until_quiet() == [pending]
        assert len(client.named("state")) == 1
        assert setup.dependency.finding == "the transitions are heard"
        live = setup.topic.put("acme", 9)
        await setup.topic.heard()
        assert await client.until_quiet() == [pending, live]


async def test_reading_goes_on_for_a_while_after_the_last_stream_and_then_ends() -> None:
    """A client that comes back meanwhile finds what it missed at hand."""
    async with Setup(FakeTopic(), listened=False) as setup:
        async with setup.connected("acme", None, 0) as client:
            await client.until_quiet()
        setup.seconds += LINGER_SECONDS - 0.001
        missed = setup.topic.put("acme", 1)
        await setup.topic.heard()
        assert setup.topic.reading == 1
        async with setup.connected("acme", None, 0) as client:
            assert await client.until_quiet() == [missed]
        assert setup.topic.opened == 2
        await _until_idle(setup)
        assert setup.topic.reading == 0
        assert setup.dependency.up


async def test_reading_does_not_end_under_an_open_stream() -> None:
    """However long nothing comes."""
    async with Setup(FakeTopic(), listened=False) as setup:
        client = await setup.client()
        await client.until_quiet()
        await _until_idle(setup)
        live = setup.topic.put("acme", 1)
        await setup.topic.heard()
        assert await client.until_quiet() == [live]
        assert setup.topic.opened == 2


async def test_what_was_at_hand_is_let_go_and_read_again() -> None:
    """An idle process keeps no records, and the next stream has no gap."""
    async with Setup(FakeTopic(), listened=False) as setup:
        first = setup.topic.put("acme", 1)
        async with setup.connected("acme", None, 0) as client:
            assert await client.until_quiet() == [first]
        await _until_idle(setup)
        missed = [setup.topic.put("acme", event) for event in (2, 3)]
        async with setup.connected("acme", first, 0) as client:
            assert await client.until_quiet() == missed


async def test_a_topic_made_anew_while_nobody_listened_ends_no_stream() -> None:
    """Nothing is remembered that the new topic could differ from."""
    async with Setup(FakeTopic(), listened=False) as setup:
        setup.topic.put("acme", 1)
        async with setup.connected("acme", None, 0) as client:
            await client.until_quiet()
        await _until_idle(setup)
        setup.topic.records[partition_of("acme", PARTITIONS)] = []
        client = await setup.client()
        await client.until_quiet()
        assert not client.listener.ended.done()


class SlowlyClosed(FakeTopic):
    """A topic whose readers take a while to close."""

    def __init__(self) -> None:
        super().__init__()
        self.close = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Reader]:
        async with super().open() as reader:
            try:
                yield reader
            finally:
                await self.close.wait()


async def test_a_stream_that_opens_while_the_reader_closes_waits_for_the_next_reader() -> None:
    """What comes between the two is not lost."""
    topic = SlowlyClosed()
    async with Setup(topic) as setup:
        await _until_idle(setup)
        between = topic.put("acme", 1)
        client = await setup.client()
        begun = asyncio.create_task(client.until_quiet())
        await topic.heard()
        assert not begun.done()
        topic.close.set()
        assert await begun == [between]
        assert topic.opened == 2


async def test_a_missing_topic_is_told_without_any_stream() -> None:
    """And that it is there again, too."""
    topic = FakeTopic()
    topic.down = ConnectionError("missing")
    setup = Setup(topic, listened=False)
    with pytest.raises(ConnectionError, match="missing"):
        await setup.feed.run()
    setup.dependency.mark_down("missing")
    topic.down = None
    async with setup:
        assert setup.dependency.up
        assert (topic.opened, topic.reading) == (1, 0)


async def test_a_first_stream_during_an_outage_is_refused_at_once() -> None:
    """It does not wait for the time that a slow start has; the feed tries again without a stream."""
    setup = Setup(FakeTopic(), listened=False)
    answers = asyncio.Event()

    async def pause(_: float) -> None:
        await answers.wait()

    keeping = asyncio.create_task(keep(setup.dependency, setup.feed.run, setup.feed.lost, pause))
    await setup.topic.heard()
    setup.topic.down = ConnectionError("refused")
    async with setup.connected("acme", None, 0) as client:
        with pytest.raises(UnavailableError, match="kafka: transitions: ConnectionError: refused"):
            await client.chunk()
    async with setup.connected("acme", None, 0) as client:
        with pytest.raises(UnavailableError, match="refused"):
            await client.chunk()
    setup.topic.down = None
    setup.seconds += LINGER_SECONDS
    answers.set()
    await setup.topic.heard()
    assert setup.dependency.up
    async with setup.connected("acme", None, 0) as client:
        await client.until_quiet()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_first_stream_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that hangs keeps no client waiting for ever."""
    monkeypatch.setattr(feeds, "START_SECONDS", 0.01)
    topic = SlowlyClosed()
    async with Setup(topic) as setup:
        await _until_idle(setup)
        with pytest.raises(UnavailableError, match=r"not heard within 0\.01 s"):
            await (await setup.client()).chunk()
        topic.close.set()


async def test_no_more_is_read_at_the_start_than_can_stay_at_hand() -> None:
    """So that the first stream begins soon, however full the topic is."""
    topic = FakeTopic()
    ids = [topic.put("acme", event) for event in range(50)]
    async with Setup(topic, kept=1_000, kept_bytes=PARTITIONS * 4_800, listened=False) as setup:
        client = await setup.client()
        assert await client.until_quiet() == ids[-8:]
        assert setup.feed.start(partition_of("acme", PARTITIONS)) == 42


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_is_missed_or_repeated_across_times_without_a_stream(seed: int) -> None:
    """A client that leaves and comes back with its last id, sometimes long after the feed went idle."""
    chance = random.Random(seed)
    topic = FakeTopic(page_records=chance.choice((1, 3, 500)))
    tenant = chance.choice(("acme", None))
    seen: list[str] = []
    wanted: list[str] = []
    last_id: str | None = None
    event = 0

    def write() -> None:
        nonlocal event
        for _ in range(chance.randrange(4)):
            event += 1
            topic.put("acme", event)
            wanted.append(f"{partition_of('acme', PARTITIONS)}:{event}:0")

    async def listen(client: Client) -> None:
        for _ in range(chance.randrange(1, 6)):
            await client.chunk()
            write()
            if chance.random() < 0.5:
                await topic.heard()

    async with Setup(topic, kept=chance.choice((2, 5, 1_000)), listened=False) as setup:
        for _ in range(12):
            async with setup.connected(tenant, last_id, 0) as client:
                if last_id is None:
                    await client.until_quiet()
                await listen(client)
                if not wanted:
                    write()
                if last_id is None and not client.ids:
                    await topic.heard()
                    await client.until_quiet()
                seen += [row["id"] for row in client.named("transition")]
                last_id = client.ids[-1] if client.ids else last_id
                assert client.named("reset") == []
            write()
            if chance.random() < 0.5:
                await _until_idle(setup)
                assert topic.reading == 0
            write()
        async with setup.connected(tenant, last_id, 0) as client:
            await client.until_quiet()
            await topic.heard()
            await client.until_quiet()
            seen += [row["id"] for row in client.named("transition")]
    assert seen == wanted
