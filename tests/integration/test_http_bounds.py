"""What one client can make a process hold by HTTP alone, over real sockets, on both ports.

Memory is that of the process. The bounds are what the protocol may hold at most, with room for the allocator; without
the protocol's bounds each of these takes hundreds of MiB.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from schemas.wire.cloudevents import encode
from tests.services import Namespace, Services
from tests.support.installation import ApiClient, Installation, Process
from tests.support.records import Sent

pytestmark = pytest.mark.once

PARTITIONS: Final = 2
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
DOCUMENT: Final = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"
SENT_BYTES: Final = 12_000_000
UNREAD: Final = 3_000
PAGE_BYTES: Final = 200_000
# A connection holds one read of 16 KiB, three requests and an answer; what else grows is caches and the allocator.
PIPELINED_MIB: Final = 48.0
# Of these, up to 8 MiB are answers to one client, and the rest is what 3,000 connections are to Python.
UNREAD_MIB: Final = 128.0
# 8 MiB of pages, and what it takes to make some at once; all of them would be 100 MiB.
PAGES_MIB: Final = 72.0
# Without turns, a command took 11 s beside 300 connections; this is what two loaded cores may add to it.
STALL_SECONDS: Final = 6.0


@dataclass(frozen=True)
class Page:
    """The worker's page, and whose it is."""

    process: Process
    url: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """No worker yet."""
    directory: Path = tmp_path_factory.mktemp("bounds")
    async with Installation.open(services, module_namespace, directory, partitions=PARTITIONS) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(installation: Installation) -> Page:
    """A worker with a page whose address is known."""
    url = installation.start_worker()
    return Page(installation.processes[-1], url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(installation: Installation, page: Page) -> ApiClient:
    """The API in front of the worker, once a command has gone through."""
    assert page.process.running
    door = await installation.open_door(SLEEP_RATE_LIMITS='{"*": "1000000/minute"}')
    async with asyncio.timeout(60), door.client("warm-up") as client:
        while (
            await client.post("/api/brain/sleep_mode", json={"target_state": "active"})
        ).status_code != httpx.codes.OK:
            await asyncio.sleep(0.2)
    return door


def resident_mib(process: Process) -> float:
    """Return how much memory a process has."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


class Growth:
    """How many MiB a process had more at most than at first."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._first = resident_mib(process)
        self.mib = 0.0

    def look(self) -> None:
        """Take the present memory into account."""
        self.mib = max(self.mib, resident_mib(self._process) - self._first)

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(process: Process) -> AsyncIterator[Growth]:
    """Watch a process's memory, and once more at the end."""
    growth = Growth(process)
    task = asyncio.create_task(growth.watch())
    try:
        yield growth
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        growth.look()


async def longest_answer(door: ApiClient, seconds: float) -> float:
    """Send commands one after the other for some time; return how long the slowest answer took, in seconds."""
    slowest, end = 0.0, time.monotonic() + seconds
    async with door.client("acme") as client:
        while (began := time.monotonic()) < end:
            answer = await client.post("/api/brain/sleep_mode", json={"target_state": "active"})
            assert answer.status_code == httpx.codes.OK
            slowest = max(slowest, time.monotonic() - began)
    return slowest


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection, and cut it off afterwards."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def reconnect(url: str, request: bytes, seconds: float) -> int:
    """Open a connection, ask, read, and begin again, for some time; return how many connections there were."""
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            async with connected(url) as (reader, writer):
                writer.write(request)
                await reader.read(1 << 16)
        count += 1
    return count


async def pipeline(url: str, request: bytes, *, first: bytes = b"", reads: bool, seconds: float = 10.0) -> int:
    """Send one request again and again on one connection, as fast as it is taken; return how many bytes were."""
    sent = 0

    async def take(reader: asyncio.StreamReader) -> None:
        while await reader.read(1 << 16):
            pass

    async with connected(url) as (reader, writer):
        taking = asyncio.create_task(take(reader)) if reads else None
        block = request * (65_536 // len(request))
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(seconds):
                writer.write(first)
                while sent < SENT_BYTES:
                    writer.write(block)
                    await writer.drain()
                    sent += len(block)
        if taking is not None:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
    return sent


@contextmanager
def unread(url: str, request: bytes, count: int = UNREAD) -> Iterator[None]:
    """Send one request on each of many connections, and read none of the answers."""
    parts = urlsplit(url)
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            one = socket.socket()
            sockets.append(one)
            # Small, so that the answer stays with the server.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((parts.hostname, parts.port))
            one.sendall(request)
        yield
    finally:
        for one in sockets:
            one.close()


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("port", ["api", "worker"])
async def test_pipelined_requests_are_held_a_few_at_a_time_on_every_port(
    page: Page, door: ApiClient, port: str, *, reads: bool
) -> None:
    """12 MB of the shortest request, on one connection, whose answers are read or not."""
    process, url = (door.process, door.url) if port == "api" else (page.process, page.url)
    async with watched(process) as growth:
        sent = await pipeline(url, REQUEST, reads=reads, seconds=5.0)
    print(f"\n{port}, {reads=}: {growth.mib:.1f} MiB after {sent / 1e6:.1f} MB")
    assert growth.mib < PIPELINED_MIB


async def test_pipelined_requests_behind_event_streams_take_no_memory(door: ApiClient) -> None:
    """Twenty connections, each with a stream in hand and as much behind it as is taken."""
    token = door.token("acme")
    stream = f"GET /api/brain/sleep_events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    async with watched(door.process) as growth:
        await asyncio.gather(*(pipeline(door.url, REQUEST, first=stream, reads=True, seconds=5.0) for _ in range(20)))
    print(f"\n{growth.mib:.1f} MiB")
    assert growth.mib < PIPELINED_MIB


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/metrics"])
async def test_unread_answers_are_bounded_and_the_api_serves_on(door: ApiClient, path: str) -> None:
    """3,000 connections ask for a document, and read nothing; a probe and a command are answered meanwhile."""
    async with watched(door.process) as growth:
        with unread(door.url, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()):
            async with httpx.AsyncClient(base_url=door.url, timeout=60.0) as client:
                assert (await client.get("/healthz")).status_code == httpx.codes.OK
            await longest_answer(door, 1.0)
    print(f"\n{path}: {growth.mib:.1f} MiB")
    assert growth.mib < UNREAD_MIB


@pytest.mark.asyncio(loop_scope="module")
async def test_unread_pages_of_tenants_are_bounded_by_their_bytes(installation: Installation, door: ApiClient) -> None:
    """400 connections, a few at a time, each leave a page of 1,000 tenants unread; each page is made anew."""
    await installation.write(_asleep(f"tenant-{number}-{'x' * 100}") for number in range(1_000))
    await installation.caught_up()
    token = door.token("platform", "sleep:operate")
    page = f"GET /api/tenants?limit=1000 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    last = page.replace(b"Host", b"Connection: close\r\nHost")
    async with connected(door.url) as (reader, writer):
        writer.write(last)
        size = len(await reader.read())
    assert size > PAGE_BYTES
    async with watched(door.process) as growth, AsyncExitStack() as stack:
        for _ in range(80):
            stack.enter_context(unread(door.url, page, 5))
            await asyncio.sleep(0.1)
        async with connected(door.url) as (reader, writer):
            writer.write(last)
            # Answered or refused, it comes after those before it.
            await reader.read()
    print(f"\n{size} bytes a page: {growth.mib:.1f} MiB")
    assert growth.mib < PAGES_MIB


def _asleep(tenant: str) -> Sent:
    data = {"breaker": "payments", "instance": "pod-1", "state": "open", "cause": "y" * 200}
    value = encode(type_=events.BREAKER, id_=tenant, source="urn:t", subject=tenant, time=None, data=data)
    return Sent(tenant, value, partition_of(tenant, PARTITIONS))


async def test_whoever_leaves_large_answers_unread_is_told_so_and_may_still_wake(door: ApiClient) -> None:
    """429 with a code and the time to wait, for reading alone; once they are read or left, all is as before."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=door.url))
        async with asyncio.timeout(60):
            while (answer := await client.get("/openapi.json")).status_code == httpx.codes.OK:
                stack.enter_context(unread(door.url, DOCUMENT, 10))
                await asyncio.sleep(0.1)
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_unread_answers")
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        await longest_answer(door, 0.5)
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=door.url) as client:
        while (await client.get("/openapi.json")).status_code != httpx.codes.OK:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("path", ["/metrics", "/status", "/healthz", "/"])
async def test_whoever_floods_the_workers_page_stalls_no_command(page: Page, door: ApiClient, path: str) -> None:
    """300 connections, some of which pipeline as fast as they are served, and the rest come again and again."""
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    async with watched(page.process) as growth:
        flood = [asyncio.create_task(pipeline(page.url, request, reads=True, seconds=6.0)) for _ in range(200)]
        flood += [asyncio.create_task(reconnect(page.url, request, seconds=6.0)) for _ in range(100)]
        slowest = await longest_answer(door, 5.0)
        await asyncio.gather(*flood)
    print(f"\n{path}: {growth.mib:.1f} MiB, {slowest:.3f} s")
    assert slowest < STALL_SECONDS
    assert growth.mib < PIPELINED_MIB


@pytest.mark.parametrize(
    "head",
    [
        "GET /readyz HTTP/1.1\r\n",
        "GET /readyz HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
        "GET /%72eadyz HTTP/1.1\r\nHost: a\r\n",
        "GET /x/%2e%2e/readyz HTTP/1.1\r\nHost: a\r\n",
        "GET /api%2fbrain%2fsleep_mode HTTP/1.1\r\nHost: a\r\n",
        "POST /readyz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        "GET /readyz HTTP/1.1\r\nHost: [::1\r\n",
        "GET /readyz HTTP/1.1\r\nHost:\r\n",
        "GET http://b/readyz HTTP/1.1\r\nHost: a\r\n",
        "GET /readyz RTSP/1.0\r\nHost: a\r\n",
    ],
)
async def test_heads_with_two_meanings_are_refused_on_every_port(page: Page, door: ApiClient, head: str) -> None:
    """400, before anything else is looked at."""
    for url in (page.url, door.url):
        async with connected(url) as (reader, writer):
            writer.write(f"{head}\r\n".encode())
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"content-type: application/problem+json" in answer
        assert b'"code":"malformed_request"' in answer
