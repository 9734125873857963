"""Streams over HTTP: who may have them, their headers, and the ways in which they end."""

import asyncio

import pytest

from api.openapi.document import document_of
from api.security.opa import Decision
from api.streaming.streams import Pace
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.connection import ALL, URL, Connection, Host


async def test_a_stream_is_not_cached_or_buffered_and_begins_with_the_state(host: Host) -> None:
    """Text of events, with how long to wait before a retry."""
    async with host.connect() as (client, _):
        [state] = await client.until("state")
        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-store"
        assert client.headers["x-accel-buffering"] == "no"
        assert (client.events[0], state.retry) == (state, 2000)
        assert state.data == (await host.api.client.get("/api/brain/sleep_mode")).json()
        wanted = host.api.topic.put("acme", 1)
        await host.api.topic.heard()
        [transition] = await client.until("transition")
        assert transition.id == wanted
    assert host.ended("left")


async def test_the_last_event_id_is_a_header(host: Host) -> None:
    """The stream goes on after it; an empty one is none."""
    ids = [host.api.topic.put("acme", event) for event in range(3)]
    await host.api.topic.heard()
    async with host.connect(**{"Last-Event-ID": ids[0]}) as (client, _):
        assert [event.id for event in await client.until("transition", 2)] == ids[1:]
    async with host.connect(**{"Last-Event-ID": ""}) as (client, _):
        await client.until("state")


async def test_each_stream_asks_for_its_action(host: Host) -> None:
    """`read` for the tenant, `list` for all."""
    for url, action, sort in ((URL, "read", "state"), (ALL, "list", "")):
        async with host.connect(url) as (client, _):
            await client.until(sort)
        assert host.api.authoriser.questions[-1].action == action


@pytest.mark.parametrize("url", [URL, ALL])
async def test_who_is_not_allowed_gets_a_problem_and_no_stream(api: ApiOverFakes, url: str) -> None:
    """Decided before anything is sent."""
    api.authoriser.decision = Decision(allow=False, reasons=("no",), decision_id="d")
    answer = await api.client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("url", [URL, ALL])
async def test_kafka_away_is_a_problem(api: ApiOverFakes, url: str) -> None:
    """503: the topic is not heard."""
    answer = await api.client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (503, "kafka_unavailable")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_redis_away_is_a_problem(host: Host) -> None:
    """503: there is no state to begin with."""
    host.api.store.down.add("tenant")
    answer = await host.api.client.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")


async def test_a_stream_ends_with_its_token(host: Host) -> None:
    """At `exp`, without the leeway that a request has."""
    host.api.clock.now = 1_000_000
    expires_at = 1_000_060
    response = host.api.services.streams.open("acme", None, expires_at)
    client = Connection(URL, {})
    client.scope["sleep.facts"] = {}
    async with asyncio.timeout(5):
        await response(client.scope, client.receive, client.send)
    assert client.complete
    assert [event.name for event in client.events] == ["state"]
    assert host.ended("expired")


async def test_the_end_of_the_token_goes_from_the_token_to_the_stream(host: Host) -> None:
    """A token that has ended within the leeway still makes a request, and a stream that is over at once."""
    host.api.clock.now = (1 << 33) * 1000
    async with host.connect() as (client, served):
        async with asyncio.timeout(5):
            await served
        assert (client.status, client.complete) == (200, True)
    assert host.ended("expired")


async def test_a_client_that_does_not_read_is_cut_off_and_goes_on_from_its_id(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its queue nor one send may take for ever; its last id is good."""
    monkeypatch.setattr("api.streaming.feed.QUEUE_ROWS", 3)
    first = host.api.topic.put("acme", 0)
    await host.api.topic.heard()
    async with host.connect() as (client, served):
        [got] = await client.until("transition")
        client.reads.clear()
        later = []
        for event in range(1, 8):
            later.append(host.api.topic.put("acme", event))
            await host.api.topic.heard()
        async with asyncio.timeout(5):
            await served
        assert (client.aborted, client.complete) == (True, False)
    assert host.ended("slow")
    assert got.id == first
    async with host.connect(**{"Last-Event-ID": first}) as (client, _):
        assert [event.id for event in await client.until("transition", 7)] == later


async def test_one_send_may_not_take_longer_than_its_bound(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little waits."""
    monkeypatch.setattr(host.api.services.streams, "_pace", Pace(send=0.01, finish=0.01))
    async with host.connect() as (client, served):
        await client.until("state")
        client.reads.clear()
        host.api.topic.put("acme", 0)
        await host.api.topic.heard()
        async with asyncio.timeout(5):
            await served
        assert client.aborted
    assert host.ended("slow")


async def test_all_streams_end_when_the_process_stops(host: Host) -> None:
    """Cleanly, also one whose client does not read."""
    async with host.connect() as (client, served), host.connect() as (stuck, stuck_served):
        await client.until("state")
        await stuck.until("state")
        stuck.reads.clear()
        host.api.topic.put("acme", 0)
        await host.api.topic.heard()
        host.api.feed.release()
        async with asyncio.timeout(5):
            await asyncio.gather(served, stuck_served)
        assert (client.complete, client.aborted) == (True, False)
        assert stuck.aborted


async def test_a_client_that_leaves_frees_its_place_at_once(host: Host) -> None:
    """Without waiting for something to be sent."""
    async with host.connect() as (client, served):
        await client.until("state")
        client.leave()
        async with asyncio.timeout(5):
            await served
    assert host.ended("left")


async def test_a_stream_that_breaks_ends_and_is_not_a_problem_in_the_middle(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has its id."""
    ids = [host.api.topic.put("acme", event) for event in range(60)]
    monkeypatch.setattr(host.api.feed, "_kept", 1)
    await host.api.topic.heard()
    host.api.topic.page_records = 10
    async with host.connect(**{"Last-Event-ID": ids[0]}) as (client, served):
        while not client.body.count(b"transition\n"):
            await asyncio.sleep(0)
        host.api.topic.down = ConnectionError("refused")
        async with asyncio.timeout(5):
            await served
        assert (client.status, client.complete) == (200, True)
    assert host.ended("lost")


@pytest.mark.parametrize("url", [URL, ALL])
def test_the_streams_are_documented(api: ApiOverFakes, url: str) -> None:
    """As text of events, with the header that goes on, and problems."""
    route = document_of(api.app)["paths"][url]["get"]
    assert list(route["responses"]["200"]["content"]) == ["text/event-stream"]
    assert list(route["responses"]["503"]["content"]) == ["application/problem+json"]
    assert "last-event-id" in [parameter["name"].lower() for parameter in route["parameters"]]


@pytest.mark.parametrize("limit", ["MOST_STREAMS", "MOST_OF_TENANT"])
async def test_streams_without_number_are_refused(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Each holds memory and a descriptor until its token expires."""
    monkeypatch.setattr(f"api.streaming.streams.{limit}", 0)
    response = await api.client.get("/api/brain/sleep_events")
    assert (response.status_code, response.json()["code"]) == (429, "too_many_streams")
    assert response.headers["retry-after"]


async def test_streams_of_another_tenant_take_none_of_its_places(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard that reads a tenant holds places of its own."""
    monkeypatch.setattr("api.streaming.streams.MOST_OF_TENANT", 1)
    panel = {"Authorization": f"Bearer {token(sub='panel', tenant_id='other')}", "X-Tenant-Id": "acme"}
    async with host.connect(**panel) as (foreign, _):
        await foreign.until("state")
        async with host.connect() as (own, _):
            await own.until("state")
            for headers in (panel, {}):
                response = await host.api.client.get(URL, headers=headers)
                assert (response.status_code, response.json()["code"]) == (429, "too_many_streams")
