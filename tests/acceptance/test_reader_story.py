"""The whole story: a breaker trips in one service, two services obey, the control plane dies, and they wake on time."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from sleepctl.io.signing_keys import TokenClaims
from tests.services import Namespace, Services
from tests.support.installation import AUDIENCE, ISSUER, Installation

ROOT: Final = Path(__file__).resolve().parents[2]
LEASE_SECONDS: Final = 12
SECONDS: Final = 90.0
"""How long anything may take on a busy machine."""
POLICY: Final = {
    "breakers": [{"match": "*", "open": "freeze", "lease_seconds": LEASE_SECONDS}],
    "ramp_seconds": {"deepen": 0, "wake": 1},
}
pytestmark = [pytest.mark.once, pytest.mark.timeout(400)]


class Service:
    """A process of `tests/support/service.py`, and the lines that it has printed."""

    def __init__(self, url: str, token: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, ROOT / "tests" / "support" / "service.py", url, "acme"],
            env=os.environ | {"PYTHONPATH": str(ROOT / "clients" / "python"), "SLEEP_TOKEN": token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line))

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._reading.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def url(self) -> str:
        """Its address, once it has printed it."""
        return f"http://127.0.0.1:{self.lines[0]['port']}"

    def said(self, **wanted: object) -> float | None:
        """Return when its reader last began to say this, in milliseconds; None if it does not say it now."""
        if len(self.lines) < 2 or not all(self.lines[-1][name] == value for name, value in wanted.items()):
            return None
        first = len(self.lines) - 1
        while first > 1 and all(self.lines[first - 1][name] == value for name, value in wanted.items()):
            first -= 1
        return float(self.lines[first]["at"])


@contextmanager
def two_services(url: str, token: str) -> Iterator[list[Service]]:
    """Two services, which end with the block."""
    services = [Service(url, token) for _ in range(2)]
    try:
        yield services
    finally:
        for service in services:
            service.end()


@pytest.fixture
async def installation(services: Services, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Installation]:
    """One worker on two partitions."""
    async with Installation.open(services, namespace, tmp_path, partitions=2) as opened:
        opened.start("worker")
        yield opened


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_two_services_obey_and_wake_on_time_with_nobody_to_ask(installation: Installation) -> None:
    """And agree with the API once it is back."""
    door = await installation.open_door()
    token = installation.key.token(TokenClaims(ISSUER, AUDIENCE, "shop", "sleep:read-any sleep:emit-any", None, 3600))
    async with door.client("acme") as client:
        async with asyncio.timeout(SECONDS):
            version = {"If-Match": '"0"'}
            while (await client.put("/api/brain/sleep_policy", json=POLICY, headers=version)).status_code != 200:
                await asyncio.sleep(0.2)
        with two_services(door.url, token) as services:
            await until(lambda: all(service.said(state="active", status="ready") for service in services))
            shop, other = services
            async with httpx.AsyncClient(timeout=SECONDS) as customer:
                assert (await customer.get(f"{shop.url}/work")).json() == {"state": "active"}

                # The breaker trips, and both services obey.
                tripped = time.time() * 1000
                for error in ("ConnectionError", "CircuitBreakerError"):
                    assert (await customer.get(f"{shop.url}/pay")).json() == {"error": error}
                await until(lambda: all(service.said(state="freeze") for service in services))
                after = [(service.said(state="freeze") or 0) - tripped for service in services]
                print(f"frozen {after[0]:.0f} ms and {after[1]:.0f} ms after the first failed call")
                assert max(after) < 10_000
                for service in services:
                    denied = await customer.get(f"{service.url}/work")
                    assert denied.status_code == httpx.codes.SERVICE_UNAVAILABLE
                    assert denied.json()["type"].endswith("#temporary-reduced-capacity")
                    assert 1 <= int(denied.headers["retry-after"]) <= LEASE_SECONDS

                # Nobody is left to ask, and the lease ends.
                for process in installation.processes:
                    process.kill()
                ends_at = (await customer.get(f"{other.url}/state")).json()["ends_at"]
                await until(lambda: all(service.said(state="active", stale=True) for service in services))
                late = [(service.said(state="active") or 0) - ends_at for service in services]
                print(f"awake {late[0]:.0f} ms and {late[1]:.0f} ms after the end of the lease")
                assert all(-500 < each < 2_000 for each in late)
                assert {service.said(status="stale") is not None for service in services} == {True}
                assert (await customer.get(f"{shop.url}/work")).json() == {"state": "active"}

                # The control plane is back.
                installation.start("worker")
                await installation.open_door(SLEEP_API_PORT=door.url.rpartition(":")[2])
                await until(lambda: all(service.said(state="active", status="ready") for service in services))
                async with asyncio.timeout(SECONDS):
                    while (document := (await client.get("/api/brain/sleep_mode")).json()).get("state") != "active":
                        await asyncio.sleep(0.1)
                for service in services:
                    said = (await customer.get(f"{service.url}/state")).json()
                    assert (said["state"], said["parameters"], said["stale"], said["status"]) == (
                        document["state"],
                        document["parameters"],
                        False,
                        "ready",
                    )
