"""Streams of events on real services: nothing missed, nothing repeated, five hundred at once, and a clean end."""

import asyncio
import random
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic_core import from_json, to_json

from api.serve import DRAIN_SECONDS
from schemas.kafka.partitioner import partition_of
from schemas.wire import events as types
from tests.services import Namespace, Services
from tests.services.skips import Lacks
from tests.support.events import event_bytes
from tests.support.installation import ApiClient, Installation
from tests.support.records import Sent
from tests.support.sse import events
from worker.ports import Output

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARTITIONS = 4
URL = "/api/brain/sleep_events"
CLIENTS = 500


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """One worker on four partitions."""
    directory: Path = tmp_path_factory.mktemp("events")
    async with Installation.open(services, module_namespace, directory, partitions=PARTITIONS) as opened:
        opened.start("worker")
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(installation: Installation) -> ApiClient:
    """The API in front of it, once a command has gone through."""
    door = await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}')
    async with asyncio.timeout(60), door.client("warm-up") as client:
        while (await client.post("/api/brain/sleep_mode", json={"target_state": "active"})).status_code != 200:
            await asyncio.sleep(0.2)
    return door


def _flip(tenant: str, number: int) -> Sent:
    """A breaker that opens and closes in turn: each is a transition."""
    data = {"breaker": "payments", "state": "open" if number % 2 == 0 else "closed"}
    value = event_bytes(types.BREAKER, data, tenant, id_=f"{tenant}-{number}")
    return Sent(tenant, value, partition_of(tenant, PARTITIONS))


async def _transitions(installation: Installation, partitions: range) -> list[dict[str, Any]]:
    """What the topic holds, read directly; a record that was appended twice counts once."""
    seen: dict[str, dict[str, Any]] = {}
    for partition in partitions:
        for record in await installation.read(installation.settings.topics.transitions, partition):
            row = from_json(record.value or b"")
            if row["kind"] == "transition":
                seen.setdefault(row["id"], row)
    return list(seen.values())


def _logged(installation: Installation, reason: str) -> list[str]:
    """The API's log lines of streams that ended for a reason."""
    lines = (installation.directory / "api.log").read_text().splitlines()
    return [line for line in lines if "request" in line and f"ended={reason}" in line]


def _http(door: ApiClient, tenant: str, scope: str = "sleep:read") -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {door.token(tenant, scope)}"}
    return httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0, limits=limits)


@pytest.mark.parametrize(
    ("url", "scope"), [(URL, "sleep:read"), ("/api/tenants/events", "sleep:operate")], ids=["tenant", "all"]
)
async def test_a_client_that_reconnects_often_gets_each_event_exactly_once(
    installation: Installation, door: ApiClient, url: str, scope: str
) -> None:
    """While a writer goes on; held against the topic itself."""
    chance = random.Random(7)
    tenants = [f"{scope[6:]}-{number}" for number in range(4)]
    own = tenants[0]
    seen: list[dict[str, Any]] = []
    last_id = ""
    connections = 0
    writing = True

    async def write() -> None:
        nonlocal writing
        for number in range(60):
            await installation.write([_flip(tenant, number) for tenant in tenants])
            await asyncio.sleep(0.02)
        await installation.caught_up()
        writing = False

    async with _http(door, own, scope) as client, asyncio.timeout(40):
        first = await client.get("/api/brain/sleep_mode")
        assert first.json()["position"] is None
        # One stream that stays says when the writer may begin: from there on nothing may be missed.
        async with client.stream("GET", url) as response:
            assert response.status_code == 200
            stream = events(response)
            assert (await anext(stream)).retry == 2000
            task = asyncio.create_task(write())
            async for event in stream:
                if event.name == "transition":
                    seen.append(event.data)
                    last_id = event.id or ""
                    break
        wanted = 60 * (1 if url == URL else len(tenants))
        while len(seen) < wanted:
            connections += 1
            async with client.stream("GET", url, headers={"Last-Event-ID": last_id}) as response:
                leave_after = chance.randrange(1, 12)
                async for event in events(response):
                    assert event.name in ("transition", ""), event
                    if event.name == "transition":
                        seen.append(event.data)
                        last_id = event.id or ""
                        leave_after -= 1
                    if leave_after == 0 or len(seen) >= wanted:
                        break
        await task
        assert not writing
    everything = await _transitions(installation, range(PARTITIONS))
    mine = {own} if url == URL else set(tenants)
    expected = {row["id"]: row for row in everything if row["tenant"] in mine}
    assert len(expected) == wanted
    assert [row["id"] for row in seen if row["id"] not in expected] == []
    assert len(seen) == len({row["id"] for row in seen})
    assert {row["id"]: row for row in seen} == expected
    print(f"{len(seen)} transitions over {connections + 1} connections")


async def test_five_hundred_clients_of_one_process_each_get_every_transition(
    installation: Installation, door: ApiClient
) -> None:
    """Of their tenant, in order, and nothing of another's."""
    tenants = [f"many-{number}" for number in range(10)]
    ready = 0
    flips = 20

    async def follow(client: httpx.AsyncClient) -> list[str]:
        nonlocal ready
        got: list[str] = []
        async with AsyncExitStack() as stack:
            while (response := await stack.enter_async_context(client.stream("GET", URL))).status_code == 503:
                # Five hundred at once ask more of Redis than it answers in its second; a client tries again.
                await asyncio.sleep(float(response.headers["retry-after"]))
            assert response.status_code == 200
            async for event in events(response):
                if event.name == "state":
                    ready += 1
                if event.name == "transition":
                    got.append(event.data["id"])
                    assert event.data["tenant"] in tenants
                if len(got) == flips:
                    break
        return got

    clients = [_http(door, tenant) for tenant in tenants]
    began = time.perf_counter()
    following = [asyncio.create_task(follow(clients[number % len(tenants)])) for number in range(CLIENTS)]
    async with asyncio.timeout(40):
        while ready < CLIENTS:
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in following)
        connected = time.perf_counter()
        metrics = (await clients[0].get("/metrics")).text
        assert f"sleep_api_streams {float(CLIENTS)}" in metrics
        for number in range(flips):
            await installation.write([_flip(tenant, number) for tenant in tenants])
        result = await asyncio.gather(*following)
    print(f"{CLIENTS} connected in {connected - began:.1f} s, {flips} each in {time.perf_counter() - connected:.1f} s")
    rows = await _transitions(installation, range(PARTITIONS))
    for number, got in enumerate(result):
        assert got == [row["id"] for row in rows if row["tenant"] == tenants[number % len(tenants)]]
    await asyncio.gather(*(client.aclose() for client in clients))


@pytest.mark.needs_kafka(Lacks.SPACE)
async def test_a_client_that_does_not_read_is_dropped_and_comes_back_for_the_rest(
    installation: Installation, door: ApiClient
) -> None:
    """Its connection is cut though it is still there; afterwards it goes on after the last event that it has."""
    tenant, partition = "slow", partition_of("slow", PARTITIONS)
    topic = installation.settings.topics.transitions
    filler = {"kind": "transition", "tenant": tenant, "reason": "x" * 4_000}
    host, _, port = door.url.removeprefix("http://").partition(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(30)
        client.connect((host, int(port)))
        head = f"GET {URL} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {door.token(tenant)}\r\n\r\n"
        client.sendall(head.encode())
        received = client.recv(256)
        start = time.perf_counter()
        ids = []
        async with asyncio.timeout(25), httpx.AsyncClient(base_url=door.url) as watcher:
            for number in range(1_000_000):
                rows = [{"id": f"{partition}:{number}:{nth}", **filler} for nth in range(200)]
                ids += [row["id"] for row in rows]
                await installation.outputs.send(topic, partition, [Output(tenant.encode(), to_json(r)) for r in rows])
                if 'streams_ended_total{reason="slow"} 1.0' in (await watcher.get("/metrics")).text:
                    break
            while door.process.running and len(_logged(installation, "slow")) == 0:
                await asyncio.sleep(0.05)
        print(f"dropped after {len(ids)} transitions, {time.perf_counter() - start:.1f} s")
        while piece := await asyncio.to_thread(client.recv, 65_536):
            received += piece
    assert not received.endswith(b"0\r\n\r\n")
    complete = received.decode(errors="replace").rpartition("\n\n")[0]
    got = [line.removeprefix("id: ") for line in complete.split("\n") if line.startswith("id: ")]
    assert 0 < len(got) < len(ids)
    rest: list[str] = []
    async with (
        asyncio.timeout(20),
        _http(door, tenant) as again,
        again.stream("GET", URL, headers={"Last-Event-ID": got[-1]}) as response,
    ):
        async for event in events(response):
            assert event.name != "reset", event
            if event.name == "transition":
                rest.append(event.data["id"])
            if rest and rest[-1] == ids[-1]:
                break
    assert [text.partition("/")[2] for text in got] + rest == ids


async def test_streams_end_at_once_when_the_process_stops(door: ApiClient) -> None:
    """SIGTERM: after the drain every stream is complete within two seconds, and the process exits 0."""
    ends: list[float] = []
    ready = 0

    async def follow(client: httpx.AsyncClient) -> None:
        nonlocal ready
        async with client.stream("GET", URL) as response:
            async for event in events(response):
                ready += event.name == "state"
        ends.append(time.perf_counter())

    async with _http(door, "stopping") as client, asyncio.timeout(12):
        following = [asyncio.create_task(follow(client)) for _ in range(50)]
        while ready < len(following):
            await asyncio.sleep(0.02)
        stopped = time.perf_counter()
        door.process.signal(signal.SIGTERM)
        await asyncio.gather(*following)
        # A second signal would be taken for impatience.
        while door.process.running:
            await asyncio.sleep(0.02)
    assert max(ends) - stopped < DRAIN_SECONDS + 2
    assert door.process.stop() == 0
    print(f"50 streams ended in {max(ends) - stopped:.2f} s, the process in {time.perf_counter() - stopped:.2f} s")
