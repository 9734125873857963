"""An API process that is told to stop while callers wait."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api.serve import DRAIN_SECONDS, STOP_SECONDS
from tests.services import Namespace, Services
from tests.support.installation import ApiClient, Installation

pytestmark = pytest.mark.smoke

SLEEP = {"target_state": "deep", "ttl_seconds": 60}
GRACE_SECONDS = DRAIN_SECONDS + STOP_SECONDS


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics of its own, and no worker yet."""
    async with Installation.open(services, namespace, tmp_path, partitions=2) as opened:
        yield opened


async def _waiting(door: ApiClient, callers: int) -> None:
    """Return once so many callers wait for an outcome."""
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=door.url) as client:
        while f"sleep_api_waiting_callers {callers}.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.02)


async def _sleep(door: ApiClient, tenant: str) -> httpx.Response:
    async with door.client(tenant) as client:
        return await client.post("/api/util/sleep", json=SLEEP, headers={"Prefer": "wait=40"})


async def test_a_stopping_process_is_unready_answers_its_waiting_callers_and_ends(installation: Installation) -> None:
    """Nobody folds, so nobody can be answered: every caller gets 202 and finds its command in the log."""
    door = await installation.open_door()
    callers = [asyncio.create_task(_sleep(door, f"t-{number}")) for number in range(20)]
    await _waiting(door, len(callers))
    started = time.monotonic()
    async with httpx.AsyncClient(base_url=door.url) as probe:
        door.process.signal(signal.SIGTERM)
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await probe.get("/readyz")).status_code != httpx.codes.SERVICE_UNAVAILABLE:
                await asyncio.sleep(0.01)
        assert (await probe.get("/healthz")).status_code == httpx.codes.OK, "it still serves"
    answers = await asyncio.gather(*callers)
    assert {answer.status_code for answer in answers} == {202}
    assert await asyncio.to_thread(door.process.wait, GRACE_SECONDS) == 0
    print(f"stopped after {time.monotonic() - started:.1f} s")
    assert time.monotonic() - started < GRACE_SECONDS + 5
    assert await installation.length(installation.settings.topics.events) == len(callers)


async def test_an_answer_that_comes_while_the_process_stops_is_still_given(installation: Installation) -> None:
    """The stop begins while commands are under way: each is answered with its outcome or with 202, none is cut off."""
    installation.start("worker")
    door = await installation.open_door()
    async with asyncio.timeout(60):
        while (await _sleep(door, "t-first")).status_code != httpx.codes.OK:
            await asyncio.sleep(0.1)
    callers = [asyncio.create_task(_sleep(door, f"t-{number}")) for number in range(30)]
    await asyncio.sleep(0.02)
    door.process.signal(signal.SIGTERM)
    answers = await asyncio.gather(*callers)
    assert {answer.status_code for answer in answers} == {200}
    assert await asyncio.to_thread(door.process.wait, GRACE_SECONDS) == 0
