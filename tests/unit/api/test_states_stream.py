"""The stream of states over a topic and rows in memory: snapshots, resuming, changes, and how streams begin and end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic_core import from_json, to_json

from api.adapters.dependency import UnavailableError
from api.errors.problems import ProblemError
from api.states import feed, session
from schemas.domain.policy import BUILT_IN_RULES, parse_rules
from schemas.domain.record import Record
from schemas.domain.state import SleepState
from schemas.kafka.partitioner import partition_of
from schemas.names import rules_key
from schemas.wire.cloudevents import Headers
from schemas.wire.state_record import POSITION_HEADER
from schemas.wire.tenant_view import encoded_state
from tests.support.claims import breaker, folded
from tests.support.times import NOW, SECOND
from tests.unit.api.states_topic import PARTITIONS, StatesSetup

ACME = partition_of("acme", PARTITIONS)
OTHERS = [name for name in (f"tenant-{number}" for number in range(50)) if partition_of(name, PARTITIONS) == ACME]
"""Tenants of acme's partition."""


@pytest.fixture
async def setup() -> AsyncIterator[StatesSetup]:
    """A feed that runs."""
    async with StatesSetup() as made:
        yield made


def asleep(offset: int, expires_at: int | None = None) -> Record:
    """A record of a tenant that a breaker put to sleep."""
    return replace(folded([breaker("a@1", "open", expires_at)]).record, offset=offset)


def awake(offset: int) -> Record:
    """A record of a tenant that is awake, at the default."""
    return replace(folded([]).record, offset=offset)


def value(tenant: str, record: Record) -> bytes:
    """The public record, as a worker publishes it."""
    return encoded_state(tenant, partition_of(tenant, PARTITIONS), record, BUILT_IN_RULES.terms)


def publish(setup: StatesSetup, tenant: str, record: Record) -> int:
    """Append a tenant's state to the topic, and return its offset there."""
    return setup.topic.put(partition_of(tenant, PARTITIONS), tenant, value(tenant, record), timestamp=NOW)


def commit(setup: StatesSetup, tenant: str, record: Record) -> None:
    """Write a tenant's record into Redis, with the progress; what is on the topic is committed with it."""
    partition = partition_of(tenant, PARTITIONS)
    setup.rows.put(tenant, record)
    setup.rows.next[partition] = max(setup.rows.next.get(partition, 0), record.offset + 1)
    setup.rows.states_next[partition] = len(setup.topic.logs[partition])


def states(events: list[Any]) -> list[tuple[str, str]]:
    """Tenant and position of each `state`."""
    return [(event.data["tenant"], event.data["position"]) for event in events if event.name == "state"]


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
    setup.seconds += 1
    publish(setup, OTHERS[0], asleep(3))
    await setup.topic.heard()
    assert states(await client.chunk()) == [(OTHERS[0], f"{ACME}:3"), ("acme", f"{ACME}:9")]


# Beginning and ending


async def test_the_list_is_filled_once_for_all_clients(setup: StatesSetup) -> None:
    """From one connection to Kafka and one scan of each partition."""
    commit(setup, "acme", asleep(1))
    clients = [await setup.ready() for _ in range(3)]
    assert [states(client.events) for client in clients] == [[("acme", f"{ACME}:1")]] * 3
    assert (setup.topic.opened, setup.rows.scans) == (1, PARTITIONS)


async def test_a_partition_that_is_not_whole_gives_no_stream(setup: StatesSetup) -> None:
    """Never a default: a tenant that Redis lost may be asleep. The same holds for a later client."""
    setup.rows.lacking = "the log of partition 1 is being replayed"
    with pytest.raises(UnavailableError, match="being replayed") as error:
        await setup.ready()
    assert (error.value.dependency, error.value.detail) == ("redis", setup.rows.lacking)
    setup.rows.lacking = ""
    await setup.topic.heard()
    await setup.ready()


async def test_a_partition_that_was_lost_later_gives_no_new_stream(setup: StatesSetup) -> None:
    """A client that is connected stays: all it needs is on the topic."""
    commit(setup, "acme", asleep(1))
    first = await setup.ready()
    setup.rows.lacking = f"Redis has no data of partition {ACME}"
    with pytest.raises(UnavailableError) as error:
        await setup.ready()
    detail = f"{setup.rows.lacking}, so nothing is known of its tenants"
    assert (error.value.dependency, error.value.detail) == ("redis", detail)
    publish(setup, "acme", asleep(2))
    await setup.topic.heard()
    assert states(await first.chunk()) == [("acme", f"{ACME}:2")]


async def test_redis_away_gives_no_stream(setup: StatesSetup) -> None:
    """The reason for callers is that Redis does not answer."""
    setup.rows.down = True
    with pytest.raises(UnavailableError) as error:
        await setup.ready()
    assert (error.value.dependency, error.value.detail) == ("redis", None)


async def test_kafka_away_gives_no_stream(setup: StatesSetup) -> None:
    """Nor a default."""
    setup.topic.down = ConnectionError("refused")
    with pytest.raises(UnavailableError) as error:
        await setup.ready()
    assert error.value.dependency == "kafka"


async def _run_again(setup: StatesSetup) -> None:
    """Have the connection to Kafka break, and come back."""
    setup.topic.down = ConnectionError("refused")
    await setup.topic.heard()
    assert not setup.dependency.up
    setup.topic.down = None
    await setup.topic.heard()


async def test_after_an_outage_of_kafka_an_open_stream_goes_on(setup: StatesSetup) -> None:
    """With what came meanwhile, and without another scan of Redis."""
    client = await setup.ready()
    publish(setup, "acme", asleep(1))
    await _run_again(setup)
    await setup.topic.heard()
    assert states(await client.chunk()) == [("acme", f"{ACME}:1")]
    assert setup.rows.scans == PARTITIONS


async def test_a_topic_that_is_not_where_it_was_ends_all_streams(setup: StatesSetup) -> None:
    """It was recreated. The list is filled anew for those who come back."""
    publish(setup, "acme", asleep(1))
    client = await setup.ready()
    setup.topic.logs[ACME].clear()
    await _run_again(setup)
    await setup.topic.heard()
    assert client.client.ended.result() == "lost"
    assert states((await setup.ready()).events) == []


async def test_after_a_long_outage_the_list_is_filled_anew(setup: StatesSetup) -> None:
    """Kafka may have removed a tombstone that nobody read."""
    client = await setup.ready()
    setup.seconds += 3_601
    await _run_again(setup)
    await setup.topic.heard()
    assert client.client.ended.result() == "lost"


async def test_the_list_is_forgotten_a_while_after_the_last_client(setup: StatesSetup) -> None:
    """A client that comes back within seconds needs no second scan."""
    with setup.feed.listener():
        await setup.topic.heard()
    await setup.ready()
    assert setup.rows.scans == PARTITIONS
    await setup.leave()
    setup.seconds += feed.LINGER_SECONDS - 1
    await setup.topic.heard()
    assert setup.dependency.finding == "the states are read"
    setup.seconds += 1
    await setup.topic.heard()
    assert "no client" in setup.dependency.finding
    await setup.ready()
    assert setup.rows.scans == 2 * PARTITIONS


async def test_only_so_many_large_snapshots_are_sent_at_once(
    setup: StatesSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond that: try again soon. A small one needs no place, and neither does a client that resumes."""
    monkeypatch.setattr(session, "LARGE", 0)
    monkeypatch.setattr(session, "AT_ONCE", 1)
    commit(setup, "acme", asleep(1))
    first = await setup.client()
    await first.chunk()
    refused = await setup.client()
    with pytest.raises(ProblemError) as error:
        await refused.chunk()
    assert (error.value.code, "Retry-After" in error.value.headers) == ("overloaded", True)
    await first.until("ready")
    await setup.ready()
    await setup.ready(last_id=first.last_id)


async def test_all_streams_end_when_the_process_stops(setup: StatesSetup) -> None:
    """Those that come later too."""
    client = await setup.ready()
    setup.feed.release()
    assert client.client.ended.result() == "stopping"
    assert (await setup.client()).client.ended.result() == "stopping"


@pytest.mark.parametrize(
    ("key", "body", "headers"),
    [
        ("acme", b"{}", ()),
        ("globex", value("acme", asleep(5)), ()),
        ("acme", value("acme", asleep(5)).replace(b'"position":"', b'"position":"9'), ()),
        ("acme", None, ()),
        ("acme", None, ((POSITION_HEADER, b"x"),)),
        (rules_key(1), b"{}", ()),
        (rules_key(2), to_json({"number": 1, "rules": {}}), ()),
        (rules_key(1), to_json({"number": 1, "rules": {"retire_after_seconds": 1}}), ()),
    ],
)
async def test_a_record_that_is_none_changes_nothing(
    setup: StatesSetup, key: str, body: bytes | None, headers: Headers
) -> None:
    """It is logged, and the next one counts."""
    commit(setup, "acme", asleep(1))
    client = await setup.ready()
    setup.topic.put(ACME, key, body, headers, timestamp=NOW)
    publish(setup, OTHERS[0], asleep(6))
    await setup.topic.heard()
    events = await client.chunk()
    assert [event.name for event in events] == ["state"]
    assert states(events) == [(OTHERS[0], f"{ACME}:6")]
