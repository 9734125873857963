"""The stream of states over a topic and rows in memory: snapshots, resuming and changes."""

import asyncio

import pytest
from pydantic_core import from_json, to_json

from api.states import feed
from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.domain.state import SleepState
from schemas.kafka.partitioner import partition_of
from schemas.names import rules_key
from schemas.wire.state_record import POSITION_HEADER
from tests.support.times import NOW, SECOND
from tests.unit.api.states_topic import (
    ACME,
    OTHERS,
    PARTITIONS,
    StatesSetup,
    asleep,
    awake,
    commit,
    publish,
    states,
    value,
)


async def test_a_stream_begins_with_rules_listed_tenants_and_the_time(setup: StatesSetup) -> None:
    """In this order, with how long to wait before a retry. Who is awake at the default is not listed."""
    commit(setup, "acme", asleep(7))
    commit(setup, "globex", awake(3))
    client = await setup.ready()
    assert [event.name for event in client.events] == ["rules"] * PARTITIONS + ["state", "ready"]
    assert client.events[0].retry == 2_000
    positions = {data["partition"]: data["position"] for data in client.named("rules")}
    assert positions[ACME] == f"{ACME}:7"
    assert client.named("rules")[0]["active"] == BUILT_IN_RULES.terms.schedule[SleepState.active].as_json()
    assert client.named("state") == [from_json(value("acme", asleep(7)))]
    assert client.named("ready") == [{"now": NOW}]
    assert client.last_id == ",".join(str(len(log)) for log in setup.topic.logs.values())


async def test_a_state_that_was_published_and_is_not_committed_is_in_the_snapshot(setup: StatesSetup) -> None:
    """The topic is read from `states_next`, before anybody is served."""
    commit(setup, "acme", awake(7))
    publish(setup, "acme", asleep(8))
    assert states((await setup.ready()).events) == [("acme", f"{ACME}:8")]


async def test_a_commit_while_the_rows_are_read_loses_nothing(
    setup: StatesSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant of an earlier slice sleeps while a later slice is read: its record is behind `states_next`."""
    setup.rows.size = 1
    first, last = sorted(["acme", OTHERS[0]])
    commit(setup, first, awake(7))
    commit(setup, last, awake(8))
    came: list[str] = []

    async def between() -> None:
        if not came:
            came.append(first)
            publish(setup, first, asleep(9))
            commit(setup, first, asleep(9))
            setup.rows.states_next[ACME] = 0

    monkeypatch.setattr(setup.rows, "between", between)
    assert states((await setup.ready()).events) == [(first, f"{ACME}:9")]


async def test_each_change_comes_with_the_bytes_of_the_topic_and_an_id(setup: StatesSetup) -> None:
    """And an earlier end as `gone`."""
    client = await setup.ready()
    publish(setup, "acme", asleep(1))
    await setup.topic.heard()
    [event] = await client.chunk()
    assert (event.name, event.data) == ("state", from_json(value("acme", asleep(1))))
    assert event.id == ",".join("1" if number == ACME else "0" for number in range(PARTITIONS))
    setup.topic.put(ACME, "acme", None, ((POSITION_HEADER, f"{ACME}:2".encode()),), timestamp=NOW)
    await setup.topic.heard()
    [event] = await client.chunk()
    assert (event.name, event.data) == ("gone", {"tenant": "acme", "position": f"{ACME}:2"})


async def test_a_slow_client_gets_the_latest_state_of_each_tenant(setup: StatesSetup) -> None:
    """Fewer events, and newer ones. Only the last one has an id: then nothing is missing."""
    client = await setup.ready()
    for offset in range(1, 9):
        publish(setup, "acme", asleep(offset))
        publish(setup, OTHERS[0], asleep(100 + offset))
    await setup.topic.heard()
    events = await client.chunk()
    assert states(events) == [("acme", f"{ACME}:8"), (OTHERS[0], f"{ACME}:108")]
    assert [event.id is None for event in events] == [True, False]


async def test_a_client_for_which_too_much_waits_ends(setup: StatesSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is too slow. A change of a tenant that waits already takes no more."""
    monkeypatch.setattr("api.states.audience.MOST_WAITING", 1)
    client = await setup.ready()
    publish(setup, "acme", asleep(1))
    publish(setup, "acme", asleep(2))
    await setup.topic.heard()
    assert not client.client.ended.done()
    publish(setup, OTHERS[0], asleep(3))
    await setup.topic.heard()
    assert client.client.ended.result() == "slow"


async def test_a_client_of_some_tenants_gets_nothing_of_others(setup: StatesSetup) -> None:
    """Not of their partitions either."""
    commit(setup, OTHERS[0], asleep(4))
    commit(setup, "acme", asleep(5))
    client = await setup.ready(tenants=["acme", "globex"])
    assert {data["partition"] for data in client.named("rules")} == {ACME, partition_of("globex", PARTITIONS)}
    assert states(client.events) == [("acme", f"{ACME}:5")]
    publish(setup, OTHERS[0], asleep(6))
    publish(setup, "acme", asleep(7))
    await setup.topic.heard()
    assert states(await client.chunk()) == [("acme", f"{ACME}:7")]


async def test_new_rules_come_as_rules(setup: StatesSetup) -> None:
    """To those who watch a tenant of the partition."""
    client, other = await setup.ready(), await setup.ready(tenants=["globex"])
    rules = parse_rules(1, {"retire_after_seconds": 60})
    document = {"number": 1, "rules": rules.document, "position": f"{ACME}:9", "at": NOW}
    setup.topic.put(ACME, rules_key(1), to_json(document), timestamp=NOW)
    setup.topic.put(ACME, rules_key(2), None, timestamp=NOW)
    await setup.topic.heard()
    [event] = await client.chunk()
    assert (event.name, event.data["partition"], event.data["number"]) == ("rules", ACME, 1)
    assert other.client.waiting == 0


async def test_the_time_of_the_log_comes_every_few_seconds(setup: StatesSetup) -> None:
    """With an id, so that a quiet client can resume after hours."""
    client = await setup.client(seconds=0.01)
    await client.until("ready")
    setup.clock.now += 15 * SECOND
    [event] = await client.chunk()
    assert (event.name, event.data, event.id) == ("time", {"now": NOW + 15 * SECOND}, client.last_id)


async def test_many_events_come_in_chunks_and_the_last_one_has_the_id(
    setup: StatesSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the snapshot, in what changes while it is sent, and later."""
    for module in ("session", "audience"):
        monkeypatch.setattr(f"api.states.{module}.CHUNK_BYTES", 1)
    for number, tenant in enumerate(OTHERS[:3]):
        commit(setup, tenant, asleep(number))
    client = await setup.client()
    await client.chunk()
    assert states(await client.chunk()) == [(OTHERS[0], f"{ACME}:0")]
    for number, tenant in enumerate(OTHERS[3:5], 10):
        publish(setup, tenant, asleep(number))
    await setup.topic.heard()
    await client.until("ready")
    assert [tenant for tenant, _ in states(client.events)] == OTHERS[:5]
    assert [event.name for event in client.events if event.id] == ["ready"]
    for number, tenant in enumerate(OTHERS[:2], 20):
        publish(setup, tenant, asleep(number))
    await setup.topic.heard()
    first, last = await client.chunk(), await client.chunk()
    assert [[event.id for event in chunk] for chunk in (first, last)] == [[None], [client.last_id]]


# Resuming


async def test_a_client_that_comes_back_gets_only_what_it_missed(setup: StatesSetup) -> None:
    """After the rules: a change, and a tenant that has woken meanwhile."""
    for number, tenant in enumerate(("acme", OTHERS[0], OTHERS[1])):
        commit(setup, tenant, asleep(number))
    first = await setup.ready()
    publish(setup, "acme", asleep(5))
    publish(setup, OTHERS[0], awake(6))
    await setup.topic.heard()
    client = await setup.ready(last_id=first.last_id)
    assert [event.name for event in client.events] == ["rules"] * PARTITIONS + ["state", "gone", "ready"]
    assert states(client.events) == [("acme", f"{ACME}:5")]
    assert client.named("gone") == [{"tenant": OTHERS[0], "position": f"{ACME}:6"}]


async def test_an_id_of_one_process_resumes_at_another(setup: StatesSetup) -> None:
    """Also where Redis has had the changes before the other process has read anything."""
    commit(setup, "acme", asleep(0))
    first = await setup.ready()
    publish(setup, "acme", asleep(5))
    commit(setup, "acme", asleep(5))
    async with StatesSetup() as other:
        other.topic.logs, other.rows = setup.topic.logs, setup.rows
        client = await other.ready(last_id=first.last_id)
        assert client.named("reset") == []
        assert states(client.events) == [("acme", f"{ACME}:5")]


async def test_an_id_that_another_process_gave_is_waited_for(setup: StatesSetup) -> None:
    """This one is a moment behind."""
    await setup.ready()
    ahead = ",".join("1" if number == ACME else "0" for number in range(PARTITIONS))
    client = await setup.client(last_id=ahead)
    waiting = asyncio.create_task(client.until("ready"))
    await asyncio.sleep(0)
    publish(setup, "acme", asleep(3))
    await setup.topic.heard()
    await waiting
    assert client.named("reset") == client.named("state") == []


@pytest.mark.parametrize(
    ("last_id", "reason"),
    [
        ("x", "malformed"),
        ("0,0,0", "malformed"),
        ("0,0,0,0,0", "malformed"),
        ("00,0,0,0", "malformed"),
        ("-1,0,0,0", "malformed"),
        ("9,9,9,9", "beyond_end"),
    ],
)
async def test_an_id_from_which_nobody_can_go_on_gives_a_snapshot(
    setup: StatesSetup, monkeypatch: pytest.MonkeyPatch, last_id: str, reason: str
) -> None:
    """After a `reset` with the reason, which makes the client forget the id."""
    monkeypatch.setattr(feed, "REACH_SECONDS", 0.01)
    commit(setup, "acme", asleep(4))
    client = await setup.ready(last_id=last_id)
    assert client.events[0].name == "reset"
    assert (client.events[0].id, client.events[0].data["reason"]) == ("", reason)
    assert states(client.events) == [("acme", f"{ACME}:4")]


async def test_an_id_that_is_too_old_gives_a_snapshot(setup: StatesSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only some thousand records before the present are read."""
    monkeypatch.setattr(feed, "EARLIER_RECORDS", 1)
    for offset in range(4):
        publish(setup, "acme", asleep(offset))
    commit(setup, "acme", asleep(3))
    client = await setup.ready(last_id="0,0,0,0")
    assert [data["reason"] for data in client.named("reset")] == ["too_old"]
    assert states(client.events) == [("acme", f"{ACME}:3")]


async def test_what_may_be_old_is_decided_by_redis(setup: StatesSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeat of a tenant whose later position was forgotten; Redis says that it sleeps."""
    monkeypatch.setattr(feed, "REMEMBERED", PARTITIONS)
    client = await setup.ready()
    for tenant, record in (("acme", asleep(0)), ("acme", awake(1)), (OTHERS[0], asleep(2)), ("acme", asleep(0))):
        publish(setup, tenant, record)
    commit(setup, "acme", asleep(9))
    await setup.topic.heard()
    assert states(await client.chunk()) == [(OTHERS[0], f"{ACME}:2")]
    setup.rows.down = True
    setup.seconds += 1
    await setup.topic.heard()
    assert (client.client.waiting, setup.dependency.up) == (0, True), "it is asked again once Redis is back"
    setup.rows.down = False
    setup.seconds += 1
    publish(setup, OTHERS[0], asleep(3))
    await setup.topic.heard()
    assert states(await client.chunk()) == [(OTHERS[0], f"{ACME}:3"), ("acme", f"{ACME}:9")]
