"""The stream of states over a topic and rows in memory: how streams begin and end."""

import pytest
from pydantic_core import to_json

from api.adapters.dependency import UnavailableError
from api.errors.problems import ProblemError
from api.states import feed, session
from schemas.kafka.source_record import Failure, Unreadable
from schemas.names import rules_key
from schemas.wire.cloudevents import Headers
from schemas.wire.state_record import POSITION_HEADER
from tests.support.times import NOW
from tests.unit.api.states_topic import ACME, OTHERS, PARTITIONS, StatesSetup, asleep, commit, publish, states, value


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


async def test_a_list_that_is_not_complete_in_time_gives_no_stream(
    setup: StatesSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is filled further, and serves the client when it comes again."""
    monkeypatch.setattr(feed, "START_SECONDS", 0.0)
    with pytest.raises(UnavailableError, match="are read further"):
        await setup.ready()
    monkeypatch.setattr(feed, "START_SECONDS", 20.0)
    await setup.ready()
    assert setup.rows.scans == PARTITIONS


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


async def test_a_batch_that_cannot_be_read_changes_nothing(setup: StatesSetup) -> None:
    """The next record counts."""
    client = await setup.ready()
    failure = Failure("unreadable_batch", "its codec is unknown")
    batch = Unreadable("states", ACME, 0, 0, NOW, 1, None, b"raw", (), failure)
    setup.topic.logs[ACME].append(batch)
    publish(setup, "acme", asleep(6))
    await setup.topic.heard()
    assert states(await client.chunk()) == [("acme", f"{ACME}:6")]
