"""Redis or Kafka away, at the start or later: clear errors while it lasts, recovery without a restart."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.services import Namespace, Service, Services
from tests.support.installation import ApiClient, Installation

pytestmark = pytest.mark.smoke

MODE = "/api/brain/sleep_mode"
LIGHT = {"target_state": "light"}


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics of its own; each test starts what it needs."""
    async with Installation.open(services, namespace, tmp_path, partitions=2) as opened:
        yield opened


async def _works(client: httpx.AsyncClient, seconds: float = 60) -> None:
    """Wait until a command is answered with its outcome."""
    async with asyncio.timeout(seconds):
        while (await client.post(MODE, json=LIGHT)).status_code != httpx.codes.OK:
            await asyncio.sleep(0.2)


async def _status(url: str, expected: int, seconds: float = 30) -> dict[str, object]:
    """Wait until a status page answers as expected, and return what it says."""
    async with asyncio.timeout(seconds), httpx.AsyncClient(base_url=url, timeout=30) as client:
        while True:
            # A process that was just started does not listen yet.
            with suppress(httpx.TransportError):
                answer = await client.get("/status")
                if answer.status_code == expected:
                    return dict(answer.json())
            await asyncio.sleep(0.2)


async def _refused_while_away(door: ApiClient, worker: str, service: Service) -> None:
    """Assert that a command is refused within 5 seconds, and that both status pages say what is away."""
    async with door.client("acme") as client:
        begun = time.monotonic()
        answer = await client.post(MODE, json=LIGHT)
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
        assert time.monotonic() - begun < 5.5
        assert answer.headers["content-type"] == "application/problem+json"
    await _status(door.url, 503)
    finding = await _status(worker, 503)
    assert finding["status"] == "bad", service


@pytest.mark.parametrize("name", ["store", "broker"])
async def test_an_outage_is_answered_with_503_and_both_processes_recover(
    installation: Installation, services: Services, name: str
) -> None:
    """The dependency is stopped under a running installation, and started again."""
    worker = installation.start_worker()
    door = await installation.open_door()
    service: Service = getattr(services, name)
    async with door.client("acme") as client:
        await _works(client)
        await asyncio.to_thread(service.stop)
        await asyncio.sleep(1)
        await _refused_while_away(door, worker, service)
        await asyncio.to_thread(service.start)
        await _works(client)
    await _status(door.url, 200)
    await _status(worker, 200)


@pytest.mark.parametrize("name", ["store", "broker"])
async def test_processes_that_start_before_their_dependency_wait_for_it(
    installation: Installation, services: Services, name: str
) -> None:
    """They start, say what is missing, and work once it is there."""
    service: Service = getattr(services, name)
    await asyncio.to_thread(service.stop)
    worker = installation.start_worker()
    door = await installation.open_door()
    await _refused_while_away(door, worker, service)
    await asyncio.to_thread(service.start)
    async with door.client("acme") as client:
        await _works(client)
    await _status(worker, 200)
