"""Streams over a topic in memory: resuming, catching up, live, and every way in which the two could miss or repeat."""

import asyncio
import random

import pytest
from msgspec.structs import replace

from api.adapters.dependency import UnavailableError
from api.streaming import catchup
from api.streaming.catchup import MOST_RECORDS
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import Record, new_record
from schemas.kafka.partitioner import partition_of
from tests.support.sse import Event
from tests.support.times import NOW
from tests.unit.api.topic import PARTITIONS, FakeTopic, Setup

ACME = partition_of("acme", PARTITIONS)


def _at(event: int) -> Record:
    """Acme's record, last changed by an event."""
    return replace(new_record(BUILT_IN_RULES, NOW), offset=event)


async def test_a_stream_says_the_state_and_then_what_comes() -> None:
    """First the state, with how long to wait before a retry, then transitions with their ids."""
    async with Setup(FakeTopic()) as setup:
        client = await setup.client()
        await client.chunk()
        assert client.events == [Event("state", None, await setup.reads.present("acme"), 2000)]
        ids = [setup.topic.put("acme", event) for event in range(3)]
        setup.topic.put("globex", 3)
        await setup.topic.heard()
        assert await client.until_quiet() == ids
        assert client.named("transition")[0] == {"id": f"{ACME}:0:0", "kind": "transition", "tenant": "acme"}


async def test_a_quiet_stream_has_heartbeats() -> None:
    """Comments, one after another."""
    async with Setup(FakeTopic()) as setup:
        client = await setup.client()
        await client.until_quiet()
        assert await client.chunk() == [Event("", None, None)]


async def test_what_the_state_includes_is_not_sent_and_what_it_lacks_is() -> None:
    """Rows are appended before their event is applied, so the state may be older than what was heard."""
    topic = FakeTopic()
    included, pending = topic.put("acme", 7), topic.put("acme", 8)
    async with Setup(topic) as setup:
        setup.store.records["acme"] = _at(7)
        client = await setup.client()
        assert await client.until_quiet() == [pending]
        assert included not in client.ids


async def test_a_duplicate_of_what_the_state_includes_is_skipped() -> None:
    """Appended anew after the state was read."""
    async with Setup(FakeTopic()) as setup:
        setup.store.records["acme"] = _at(7)
        client = await setup.client()
        await client.until_quiet()
        setup.topic.put("acme", 7)
        expected = setup.topic.put("acme", 8)
        setup.topic.put("acme", 8)
        await setup.topic.heard()
        assert await client.until_quiet() == [expected]


@pytest.mark.parametrize("kept", [1_000, 3], ids=["at-hand", "read-back"])
async def test_a_client_goes_on_after_its_last_event_without_a_state(kept: int) -> None:
    """The same whether the records are at hand or must be read; duplicates of what it has are skipped."""
    topic = FakeTopic()
    ids = [topic.put("acme", event) for event in range(5)]
    topic.put("acme", 1)
    topic.put("acme", 2)
    ids += [topic.put("acme", event, nth) for event in (5, 6) for nth in (0, 1)]
    async with Setup(topic, kept=kept) as setup:
        client = await setup.client(last_id=ids[2])
        assert await client.until_quiet() == ids[3:]
        assert client.named("state") == []
        assert topic.opened == (1 if kept > 10 else 2)
        live = topic.put("acme", 9)
        await topic.heard()
        assert await client.until_quiet() == [*ids[3:], live]


@pytest.mark.parametrize("kept", [1_000, 3], ids=["at-hand", "read-back"])
@pytest.mark.parametrize(
    ("last_id", "reason"),
    [
        ("rubbish", "malformed"),
        (f"3/{(ACME + 1) % PARTITIONS}:3:0", "other_partition"),
        (f"3/{ACME}:4:0", "unknown"),
        (f"99/{ACME}:99:0", "beyond_end"),
        (f"10/{ACME}:10:0", "beyond_end"),
    ],
)
async def test_a_client_that_cannot_go_on_is_told_why_and_begins_afresh(kept: int, last_id: str, reason: str) -> None:
    """Reset, which also takes the id away; then the state, and live."""
    topic = FakeTopic()
    for event in range(10):
        topic.put("acme", event)
    async with Setup(topic, kept=kept) as setup:
        setup.store.records["acme"] = _at(9)
        client = await setup.client(last_id=last_id)
        await client.until_quiet()
        shown = [event for event in client.events if event.name]
        assert [event.name for event in shown] == ["reset", "state"]
        assert (shown[0].data["reason"], shown[0].id) == (reason, "")
        assert shown[0].data["detail"]
        live = topic.put("acme", 11)
        await topic.heard()
        assert await client.until_quiet() == [live]


async def test_records_of_all_partitions_stay_at_hand_up_to_a_number_of_bytes() -> None:
    """The oldest go first, whatever their partition; who needs one of them reads it from the topic."""
    topic = FakeTopic()
    async with Setup(topic, kept=1_000, kept_bytes=4_000) as setup:
        ids = [topic.put(tenant, event) for event in range(6) for tenant in ("acme", "globex")]
        await topic.heard()
        # The fake topic is read partition by partition, so those of `acme` were heard first.
        assert (setup.feed.start(ACME), setup.feed.start(partition_of("globex", PARTITIONS))) == (6, 1)
        client = await setup.client(last_id=ids[0])
        assert await client.until_quiet() == ids[2::2]
        assert topic.opened == 2
        live = topic.put("acme", 9)
        await topic.heard()
        assert await client.until_quiet() == [*ids[2::2], live]


async def test_what_is_no_longer_kept_or_too_far_back_resets() -> None:
    """Both are found where the log is asked."""
    topic = FakeTopic()
    for event in range(MOST_RECORDS + 3):
        topic.put("acme", event)
    topic.kept[ACME] = 1
    async with Setup(topic, kept=10) as setup:
        for offset, reason in ((0, "expired"), (1, "too_far_back")):
            client = await setup.client(last_id=f"{offset}/{ACME}:{offset}:0")
            await client.chunk()
            assert [data["reason"] for data in client.named("reset")] == [reason]
        client = await setup.client(last_id=f"2/{ACME}:2:0")
        assert len(await client.until(MOST_RECORDS)) == MOST_RECORDS


async def test_a_client_that_another_process_told_more_is_not_reset() -> None:
    """Our own hearing may be a moment behind the topic; the topic itself is asked."""
    topic = FakeTopic()
    topic.put("acme", 0)
    async with Setup(topic) as setup:
        ahead = topic.put("acme", 1)
        client = await setup.client(last_id=ahead)
        await client.chunk()
        assert client.named("reset") == []
        later = topic.put("acme", 2)
        await topic.heard()
        assert await client.until_quiet() == [later]


@pytest.mark.parametrize("seed", range(40))
async def test_nothing_is_missed_or_repeated_in_any_order_of_writer_and_client(seed: int) -> None:
    """A writer that repeats itself, a small window at hand, and a client that leaves and comes back all the time."""
    chance = random.Random(seed)
    topic = FakeTopic(page_records=chance.choice((1, 3, 500)))
    tenant = chance.choice(("acme", None))
    writes: dict[str, list[int]] = {"acme": [], "initech": [], "umbrella": []}
    truth: dict[str, set[str]] = {name: set() for name in writes}
    event = 0

    def write() -> None:
        nonlocal event
        name = chance.choice(list(writes))
        kind = "transition" if chance.random() < 0.8 else "outcome"
        event += 1
        topic.put(name, event, kind=kind)
        if kind == "transition":
            writes[name].append(event)
            truth[name].add(f"{partition_of(name, PARTITIONS)}:{event}:0")
        if chance.random() < 0.2:
            # As after a crash: the last rows of the partition once more, in order.
            for again in writes[name][-3:]:
                topic.put(name, again)

    seen: list[str] = []
    last_id: str | None = None
    async with Setup(topic, kept=chance.choice((2, 5, 1_000))) as setup:
        client = await setup.client(tenant)
        await client.chunk()
        for _ in range(120):
            step = chance.random()
            if step < 0.5:
                write()
            elif step < 0.7:
                await topic.heard()
            elif step < 0.9:
                await client.chunk()
            elif client.ids:
                seen += [parsed.data["id"] for parsed in client.events if parsed.name == "transition"]
                last_id = client.ids[-1]
                await client.chunks.aclose()
                client = await setup.client(tenant, last_id)
            assert not client.listener.ended.done()
        await topic.heard()
        await client.until_quiet()
        await client.until_quiet()
        assert client.named("reset") == []
        seen += [parsed.data["id"] for parsed in client.events if parsed.name == "transition"]
    wanted = truth["acme"] if tenant else set().union(*truth.values())
    assert len(seen) == len(set(seen))
    assert set(seen) == wanted


async def test_all_tenants_come_in_one_stream_that_can_be_gone_on_with() -> None:
    """Begins with what is not yet applied, without a state; its id covers every partition."""
    topic = FakeTopic()
    topic.put("acme", 1)
    pending = topic.put("globex", 5)
    async with Setup(topic) as setup:
        setup.store.applied = dict.fromkeys(range(PARTITIONS), 2)
        client = await setup.client(None)
        await client.until_quiet()
        assert client.named("state") == []
        assert [row["tenant"] for row in client.named("transition")] == ["globex"]
        assert len(client.ids[0].split(",")) == PARTITIONS
        assert pending.split("/")[1] in client.ids[0]
        topic.put("acme", 7)
        topic.put("hooli", 8)
        again = await setup.client(None, client.ids[-1])
        await topic.heard()
        await again.until_quiet()
        assert [row["tenant"] for row in again.named("transition")] == ["acme", "hooli"]


async def test_only_a_few_read_back_at_once() -> None:
    """The others wait for their turn."""
    topic = FakeTopic(page_records=1)
    ids = [topic.put("acme", event) for event in range(30)]
    async with Setup(topic, kept=3, at_once=2) as setup:
        clients = [await setup.client(last_id=ids[0]) for _ in range(6)]
        await asyncio.gather(*(client.until_quiet() for client in clients))
        assert all(client.ids == ids[1:] for client in clients)
        assert topic.most_reading == 3  # the shared one among them


async def test_one_tenant_does_not_take_every_turn_to_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks again and again for what is long past waits for their own; another tenant reads at once."""
    monkeypatch.setattr(catchup, "TURN_SECONDS", 0.05)
    topic = FakeTopic()
    ids = {tenant: [topic.put(tenant, event) for event in range(9)] for tenant in ("acme", "globex")}
    async with Setup(topic, kept=1, at_once=3) as setup:
        for _ in range(2):
            # Its client does not read on, so it stays where it is.
            await (await setup.client(last_id=ids["acme"][0])).chunk()
        with pytest.raises(UnavailableError, match="kafka: too many streams read history at once"):
            await (await setup.client(last_id=ids["acme"][0])).chunk()
        other = await setup.client("globex", ids["globex"][0])
        await other.until_quiet()
        assert other.ids == ids["globex"][1:]
