"""Streams over HTTP: who may have them, their headers, and the ways in which they end."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from api.describe.openapi import document_of
from api.door.authorise import Decision
from api.stream.streams import ABORT, Pace
from tests.sse import Event, parse_block
from tests.unit.api.conftest import World
from tests.unit.api.fakes import token

URL = "/api/brain/sleep_events"
ALL = "/api/tenants/events"


class Connection:
    """A client at the ASGI boundary, which may stop reading, or leave."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": url,
            "raw_path": url.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
            "extensions": {ABORT: self._abort},
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = self.aborted = False
        self.reads = asyncio.Event()
        self.reads.set()
        self._came = asyncio.Event()
        self._gone = asyncio.Event()

    def _abort(self) -> None:
        self.aborted = True
        self._gone.set()

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def receive(self) -> dict[str, Any]:
        """Nothing comes from the client but its leaving."""
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a message, as soon as the client reads."""
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): text.decode() for name, text in message["headers"]}
        else:
            self.body += message["body"]
            self.complete = not message.get("more_body", False)
        self._came.set()

    async def until(self, name: str, count: int = 1) -> list[Event]:
        """Wait for so many events of a name; return them."""
        async with asyncio.timeout(5):
            while True:
                found = [event for event in self.events if event.name == name]
                if len(found) >= count:
                    return found
                self._came.clear()
                await self._came.wait()

    @property
    def events(self) -> list[Event]:
        """What came until now."""
        return [parse_block(block) for block in self.body.decode().split("\n\n")[:-1]]


class Host:
    """The application, and connections to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.app = world.app

    @asynccontextmanager
    async def connect(self, url: str = URL, **headers: str) -> AsyncIterator[tuple[Connection, "asyncio.Task[None]"]]:
        """Connect, and see at the end that nothing is left of it."""
        connection = Connection(url, {"Authorization": f"Bearer {token()}"} | headers)
        served = asyncio.create_task(self.app(connection.scope, connection.receive, connection.send))
        try:
            yield connection, served
        finally:
            connection.leave()
            connection.reads.set()
            async with asyncio.timeout(5):
                await served

    def ended(self, reason: str) -> bool:
        """Tell whether one stream ended for this reason, and none is open."""
        text = self.world.services.metrics.render().decode()
        return f'sleep_api_streams_ended_total{{reason="{reason}"}} 1.0' in text and "sleep_api_streams 0.0" in text


@pytest_asyncio.fixture
async def host(world: World) -> AsyncIterator[Host]:
    """The application with its shared consumer running."""
    world.store.applied = dict.fromkeys(range(8), 0)
    running = asyncio.create_task(world.feed.run())
    await world.topic.heard()
    yield Host(world)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_stream_is_not_cached_or_buffered_and_begins_with_the_state(host: Host) -> None:
    """Text of events, with how long to wait before a retry."""
    async with host.connect() as (client, _):
        [state] = await client.until("state")
        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-store"
        assert client.headers["x-accel-buffering"] == "no"
        assert (client.events[0], state.retry) == (state, 2000)
        assert state.data == (await host.world.client.get("/api/brain/sleep_mode")).json()
        wanted = host.world.topic.put("acme", 1)
        await host.world.topic.heard()
        [transition] = await client.until("transition")
        assert transition.id == wanted
    assert host.ended("left")


async def test_the_last_event_id_is_a_header(host: Host) -> None:
    """The stream goes on after it; an empty one is none."""
    ids = [host.world.topic.put("acme", event) for event in range(3)]
    await host.world.topic.heard()
    async with host.connect(**{"Last-Event-ID": ids[0]}) as (client, _):
        assert [event.id for event in await client.until("transition", 2)] == ids[1:]
    async with host.connect(**{"Last-Event-ID": ""}) as (client, _):
        await client.until("state")


async def test_each_stream_asks_for_its_action(host: Host) -> None:
    """`read` for the tenant, `list` for all."""
    for url, action, sort in ((URL, "read", "state"), (ALL, "list", "")):
        async with host.connect(url) as (client, _):
            await client.until(sort)
        assert host.world.authoriser.questions[-1].action == action


@pytest.mark.parametrize("url", [URL, ALL])
async def test_who_is_not_allowed_gets_a_problem_and_no_stream(world: World, url: str) -> None:
    """Decided before anything is sent."""
    world.authoriser.decision = Decision(allow=False, reasons=("no",), decision_id="d")
    answer = await world.client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("url", [URL, ALL])
async def test_kafka_away_is_a_problem(world: World, url: str) -> None:
    """503: the topic is not heard."""
    answer = await world.client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (503, "kafka_unavailable")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_redis_away_is_a_problem(host: Host) -> None:
    """503: there is no state to begin with."""
    host.world.store.down.add("tenant")
    answer = await host.world.client.get(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")


async def test_a_stream_ends_with_its_token(host: Host) -> None:
    """At `exp`, without the leeway that a request has."""
    host.world.clock.now = 1_000_000
    expires_at = 1_000_060
    response = host.world.services.streams.open("acme", None, expires_at)
    client = Connection(URL, {})
    client.scope["sleep.facts"] = {}
    async with asyncio.timeout(5):
        await response(client.scope, client.receive, client.send)
    assert client.complete
    assert [event.name for event in client.events] == ["state"]
    assert host.ended("expired")


async def test_the_end_of_the_token_goes_from_the_token_to_the_stream(host: Host) -> None:
    """A token that has ended within the leeway still makes a request, and a stream that is over at once."""
    host.world.clock.now = (1 << 33) * 1000
    async with host.connect() as (client, served):
        async with asyncio.timeout(5):
            await served
        assert (client.status, client.complete) == (200, True)
    assert host.ended("expired")


async def test_a_client_that_does_not_read_is_cut_off_and_goes_on_from_its_id(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its queue nor one send may take for ever; its last id is good."""
    monkeypatch.setattr("api.stream.feed.QUEUE_ROWS", 3)
    first = host.world.topic.put("acme", 0)
    await host.world.topic.heard()
    async with host.connect() as (client, served):
        [got] = await client.until("transition")
        client.reads.clear()
        later = []
        for event in range(1, 8):
            later.append(host.world.topic.put("acme", event))
            await host.world.topic.heard()
        async with asyncio.timeout(5):
            await served
        assert (client.aborted, client.complete) == (True, False)
    assert host.ended("slow")
    assert got.id == first
    async with host.connect(**{"Last-Event-ID": first}) as (client, _):
        assert [event.id for event in await client.until("transition", 7)] == later


async def test_one_send_may_not_take_longer_than_its_bound(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little waits."""
    monkeypatch.setattr(host.world.services.streams, "_pace", Pace(send=0.01, finish=0.01))
    async with host.connect() as (client, served):
        await client.until("state")
        client.reads.clear()
        host.world.topic.put("acme", 0)
        await host.world.topic.heard()
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
        host.world.topic.put("acme", 0)
        await host.world.topic.heard()
        host.world.feed.release()
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
    ids = [host.world.topic.put("acme", event) for event in range(60)]
    monkeypatch.setattr(host.world.feed, "_kept", 1)
    await host.world.topic.heard()
    host.world.topic.page_records = 10
    async with host.connect(**{"Last-Event-ID": ids[0]}) as (client, served):
        while not client.body.count(b"transition\n"):
            await asyncio.sleep(0)
        host.world.topic.down = ConnectionError("refused")
        async with asyncio.timeout(5):
            await served
        assert (client.status, client.complete) == (200, True)
    assert host.ended("lost")


@pytest.mark.parametrize("url", [URL, ALL])
def test_the_streams_are_documented(world: World, url: str) -> None:
    """As text of events, with the header that goes on, and problems."""
    route = document_of(world.app)["paths"][url]["get"]
    assert list(route["responses"]["200"]["content"]) == ["text/event-stream"]
    assert list(route["responses"]["503"]["content"]) == ["application/problem+json"]
    assert "last-event-id" in [parameter["name"].lower() for parameter in route["parameters"]]


@pytest.mark.parametrize("limit", ["MOST_STREAMS", "MOST_OF_TENANT"])
async def test_streams_without_number_are_refused(world: World, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Each holds memory and a descriptor until its token expires."""
    monkeypatch.setattr(f"api.stream.streams.{limit}", 0)
    response = await world.client.get("/api/brain/sleep_events")
    assert (response.status_code, response.json()["code"]) == (429, "too_many_streams")
    assert response.headers["retry-after"]
