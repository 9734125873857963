"""Connections of real processes: bounded, with probes answered; rubbish behind a command, which is answered first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio

from tests.attack.wire import answer, bearer, connected, request
from tests.services import Namespace, Services
from tests.support.installation import ApiClient, Installation

MOST: Final = 40
OF_ADDRESS: Final = 20
CLOSE: Final = {"Connection": "close"}
FEW: Final = {
    "SLEEP_API_CONNECTIONS": str(MOST),
    "SLEEP_API_CONNECTIONS_PER_ADDRESS": str(OF_ADDRESS),
    "SLEEP_WORKER_CONNECTIONS": str(MOST),
    "SLEEP_WORKER_CONNECTIONS_PER_ADDRESS": str(OF_ADDRESS),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """A worker that holds few connections."""
    directory: Path = tmp_path_factory.mktemp("connections")
    async with Installation.open(services, module_namespace, directory, partitions=2) as opened:
        opened.environment.update(FEW)
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(installation: Installation) -> str:
    """The address of a worker's page."""
    return installation.start_worker()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(installation: Installation, page: str) -> ApiClient:
    """The API in front of the worker, once a command has gone through."""
    assert page
    door = await installation.open_door()
    async with asyncio.timeout(60), door.client("warm-up") as client:
        while (
            await client.post("/api/brain/sleep_mode", json={"target_state": "active"})
        ).status_code != httpx.codes.OK:
            await asyncio.sleep(0.2)
    return door


async def test_connections_above_a_bound_carry_probes_and_nothing_else(page: str, door: ApiClient) -> None:
    """On both ports, for one address and for all; the metrics count them."""
    for url in (page, door.url):
        async with AsyncExitStack() as connections:
            for _ in range(OF_ADDRESS):
                await connections.enter_async_context(connected(url, address="127.0.0.2"))
            version = request("GET", "/version", CLOSE)
            assert b" 503 Service Unavailable" in await answer(url, version, address="127.0.0.2")
            assert b"too_many_connections" in await answer(url, version, address="127.0.0.2")
            assert b" 200 OK" in await answer(url, version, address="127.0.0.3")
            for number in range(MOST - OF_ADDRESS):
                await connections.enter_async_context(connected(url, address=f"127.0.1.{number}"))
            assert b"too_many_connections" in await answer(url, version, address="127.0.0.4")
            for address in ("127.0.0.2", "127.0.0.4"):
                for path in ("/healthz", "/readyz"):
                    assert b" 200 OK" in await answer(url, request("GET", path, CLOSE), address=address)
        metrics = b""
        async with asyncio.timeout(30):
            while not metrics.startswith(b"HTTP/1.1 200 OK"):  # Until the server has noticed that all have ended.
                metrics = await answer(url, request("GET", "/metrics", CLOSE))
        assert b'_connections_refused_total{bound="client"}' in metrics
        assert b'_connections_refused_total{bound="process"}' in metrics


async def test_a_command_with_rubbish_behind_it_is_answered(door: ApiClient) -> None:
    """With its outcome; then comes the 400, and the end."""
    body = b'{"target_state":"light","ttl_seconds":60}'
    command = request("POST", "/api/util/sleep", bearer(door.token("rubbish", "sleep:write")), body)
    answers = await answer(door.url, command + b"rubbish\r\n\r\n", seconds=60)
    assert answers.startswith(b"HTTP/1.1 200 OK")
    assert b'"status":"running"' in answers
    assert answers.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 400 Bad Request" in answers
    assert b"the request line is not that of HTTP/1.1, it begins with rubbish" in answers
