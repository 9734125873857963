"""Workers and APIs of two processes each, on real services."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.services import Namespace, Services
from tests.services.probe import free_port
from tests.services.skips import Lacks
from tests.support.installation import ApiClient, Installation, Process

pytestmark = [pytest.mark.needs_kafka(Lacks.TOPICS), pytest.mark.timeout(400)]

PARTITIONS = 4
SLEEP = {"target_state": "deep", "ttl_seconds": 60}


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """Topics of its own, and no process yet."""
    async with Installation.open(services, namespace, tmp_path, partitions=PARTITIONS) as opened:
        yield opened


def of_two(installation: Installation, name: str) -> list[str]:
    """Return the command that starts two processes."""
    return [*installation.command(name), "--processes", "2"]


class Workers:
    """Two workers of one command, and their page."""

    def __init__(self, installation: Installation) -> None:
        port = free_port()
        command = of_two(installation, "worker")
        self.process: Process = installation.start("worker", *command, SLEEP_WORKER_METRICS_PORT=str(port))
        self._url = f"http://127.0.0.1:{port}"

    def children(self) -> list[psutil.Process]:
        """Return the two processes."""
        return psutil.Process(self.process.pid).children()

    async def page(self, path: str) -> httpx.Response | None:
        """Return a page; None while nobody serves."""
        try:
            async with httpx.AsyncClient(base_url=self._url, timeout=10) as client:
                return await client.get(path)
        except httpx.TransportError:
            return None

    async def lanes(self) -> list[list[int]]:
        """Return the partitions of each process, once all run without a finding and each has some."""
        async with asyncio.timeout(120):
            while True:
                answer = await self.page("/status")
                processes: list[dict[str, Any]] = [] if answer is None else answer.json()["processes"]
                lanes = [process.get("lanes", []) for process in processes]
                complete = answer is not None and answer.status_code == httpx.codes.OK
                if complete and all(lanes) and sum(map(len, lanes)) == PARTITIONS:
                    return [[lane["partition"] for lane in each] for each in lanes]
                await asyncio.sleep(0.2)


async def _sleep(door: ApiClient, tenant: str) -> httpx.Response:
    async with door.client(tenant) as client:
        return await client.post("/api/util/sleep", json=SLEEP, headers={"Prefer": "wait=40"})


async def test_two_workers_share_the_partitions_and_one_that_is_killed_returns(installation: Installation) -> None:
    """All records are applied, `/metrics` counts both, and no process is left."""
    workers = Workers(installation)
    door = await installation.open_door()
    shares = await workers.lanes()
    assert sorted(partition for share in shares for partition in share) == list(range(PARTITIONS))
    ready = await workers.page("/readyz")
    assert ready is not None
    assert ready.status_code == httpx.codes.OK
    assert {(await _sleep(door, f"t-{number}")).status_code for number in range(12)} == {200}
    metrics = await workers.page("/metrics")
    assert metrics is not None
    assert 'sleep_worker_events_total{type="sleep.operation.v1"} 12.0\n' in metrics.text
    assert f'sleep_worker_lanes{{state="running"}} {PARTITIONS}.0\n' in metrics.text

    before = workers.children()
    before[0].kill()
    answers = await asyncio.gather(*(_sleep(door, f"u-{number}") for number in range(12)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    await installation.caught_up()
    await workers.lanes()
    children = {*before, *workers.children()}
    assert len(children) == 3
    after = await workers.page("/metrics")
    assert after is not None
    assert 'sleep_worker_process_restarts_total{process="1"} 1.0\n' in after.text
    assert await asyncio.to_thread(workers.process.stop) == 0
    assert [child for child in children if child.is_running()] == []


async def test_two_api_processes_answer_all_that_they_accepted(installation: Installation) -> None:
    """The stop begins while commands are under way in both."""
    installation.start("worker")
    door = await installation.open_door(*of_two(installation, "api"))
    async with asyncio.timeout(60):
        while (await _sleep(door, "t-first")).status_code != httpx.codes.OK:
            await asyncio.sleep(0.1)
    callers = [asyncio.create_task(_sleep(door, f"t-{number}")) for number in range(40)]
    await asyncio.sleep(0.05)
    door.process.signal(signal.SIGTERM)
    answers = await asyncio.gather(*callers)
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert await asyncio.to_thread(door.process.wait, 30) == 0
    assert await installation.length(installation.settings.topics.events) >= len(callers)
