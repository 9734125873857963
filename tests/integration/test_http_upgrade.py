"""Clients that ask for an upgrade, against the API and the worker's status page over real sockets."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.services import Namespace, Services
from tests.services.skips import pass_over
from tests.support.installation import ApiClient, Installation

pytestmark = [pytest.mark.once, pytest.mark.needs_kafka]

ASKING: Final = (
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n",
    "Connection: keep-alive, upgrade\r\nUpgrade: made-up, TLS/1.0\r\n",
)
LAST: Final = "Connection: close\r\n"
LATER_SECONDS: Final = 0.3
"""How long after its head a body comes, as the issue saw it."""


class Ports(NamedTuple):
    """An API and a worker's status page, as host and port."""

    door: ApiClient
    api: tuple[str, int]
    page: tuple[str, int]


@pytest.fixture
async def ports(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Ports]:
    """Both processes, once a command went through."""
    async with Installation.open(services, namespace, tmp_path, partitions=2) as installation:
        page = installation.start_worker()
        door = await installation.open_door()
        async with asyncio.timeout(60), door.client("warm-up") as client:
            while (await client.post("/api/brain/sleep_mode", json={"target_state": "active"})).status_code != 200:
                await asyncio.sleep(0.2)
        yield Ports(door, _address(door.url), _address(page))


async def test_a_body_that_comes_after_the_head_of_an_upgrade_is_that_requests_body(ports: Ports) -> None:
    """It holds a command that would end the sleep, were it read as a request."""
    token = ports.door.token("acme")
    smuggled = f"POST /api/brain/sleep_mode HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    body = json.dumps({"target_state": "deep", "ttl_seconds": 60, "reason": "x" * 40}).encode()
    for asking in ASKING:
        # What looks like a request, in place of a body: one answer says that it is no JSON, and no other follows.
        wrong = smuggled.encode()
        head = _head("POST", "/api/util/sleep", asking, token, f"Content-Length: {len(wrong)}\r\n")
        following = _head("GET", "/healthz", LAST, token, "")
        [(status, problem), alive] = await _exchange(ports.api, [head, wrong, following])
        assert (status, problem["code"], alive) == (400, "malformed_request", (200, {"status": "alive"}))
        for framing, content in (
            (f"Content-Length: {len(body)}\r\n", body),
            (
                "Transfer-Encoding: chunked\r\n",
                b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:]),
            ),
        ):
            head = _head("POST", "/api/util/sleep", asking, token, framing)
            for pieces in ([head + content + following], [head, content + following], [head, content, following]):
                answers = await _exchange(ports.api, pieces)
                assert [status for status, _ in answers] == [200, 200], answers
                assert (answers[0][1]["target_state"], answers[1][1]) == ("deep", {"status": "alive"})


async def test_the_workers_page_ignores_an_upgrade_too(ports: Ports) -> None:
    """With a body, which no page reads, and a request behind it."""
    for asking in ASKING:
        body = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
        head = _head("GET", "/healthz", asking, "", f"Content-Length: {len(body)}\r\n")
        following = _head("GET", "/version", LAST, "", "")
        for pieces in ([head + body + following], [head, body, following]):
            answers = await _exchange(ports.page, pieces)
            assert [status for status, _ in answers] == [200, 200]
            assert (answers[0][1], "build" in answers[1][1]) == ({"status": "alive"}, True)


async def test_neither_port_opens_a_tunnel_or_speaks_http2(ports: Ports) -> None:
    """A clean status, and the connection closes."""
    for port in (ports.api, ports.page):
        [(status, _)] = await _exchange(port, [b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
        assert status == 501
        [(status, _)] = await _exchange(port, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0\0\0\0\0"])
        assert status == 505


@pytest.mark.parametrize("body", ["at once", "after 100 Continue"])
async def test_curl_that_asks_for_http2_is_served_as_http1(ports: Ports, tmp_path: Path, body: str) -> None:
    """`curl --http2` sends `Upgrade: h2c` on a plain connection."""
    curl = shutil.which("curl")
    if curl is None:
        pass_over("curl is not installed")
    command = tmp_path / "command.json"
    command.write_text(json.dumps({"target_state": "light", "ttl_seconds": 30}))
    process = await asyncio.create_subprocess_exec(
        *(curl, "--silent", "--show-error", "--http2", "--max-time", "20", "--noproxy", "*"),
        *("--header", f"Authorization: Bearer {ports.door.token('acme')}"),
        *("--header", "Content-Type: application/json", "--data-binary", f"@{command}"),
        *(() if body == "at once" else ("--header", "Expect: 100-continue")),
        *("--write-out", "\n%{http_code} %{http_version}", f"{ports.door.url}/api/util/sleep"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    document, _, written = output.decode().rpartition("\n")
    assert (process.returncode, written) == (0, "200 1.1"), output
    assert json.loads(document)["status"] == "running"


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def _head(method: str, path: str, asking: str, token: str, framing: str) -> bytes:
    fields = f"Host: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    return f"{method} {path} HTTP/1.1\r\n{fields}{asking}{framing}\r\n".encode()


async def _exchange(port: tuple[str, int], pieces: list[bytes]) -> list[tuple[int, Any]]:
    """Send pieces with a pause between them, and return every answer that comes, as status and document."""
    reader, writer = await asyncio.open_connection(*port)
    try:
        for number, piece in enumerate(pieces):
            await asyncio.sleep(LATER_SECONDS if number else 0)
            writer.write(piece)
            await writer.drain()
        answers = []
        while (answer := await _answer(reader)) is not None:
            answers.append(answer)
        return answers
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, Any] | None:
    """Return the next answer, None where the connection ends."""
    try:
        async with asyncio.timeout(20):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    except asyncio.IncompleteReadError:
        return None
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))
