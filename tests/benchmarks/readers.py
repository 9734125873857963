"""From a breaker event's acknowledgement to its tenant's state in a reader, with one reader and with 200."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from schemas.wire import events
from sleep_client import AsyncSleepReader
from sleep_client.open_reader import Change
from sleepctl.io.signing_keys import TokenClaims
from tests.benchmarks.figures import Figure, Latencies
from tests.benchmarks.stage import stage
from tests.services import Services
from tests.support.events import event_bytes
from tests.support.installation import AUDIENCE, ISSUER

COUNTS: Final = (1, 200)
_PROBES: Final = 400
_WARM_UP: Final = 100
_INTERVAL_SECONDS: Final = 0.05
_SECONDS: Final = 60.0


class Ages:
    """How long after its acknowledgement a reader sees each event."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._acknowledged: dict[str, float] = {}
        self._seen: dict[str, float] = {}

    def acknowledged(self, tenant: str) -> None:
        """Note that the API has accepted an event."""
        self._acknowledged[tenant] = time.perf_counter()
        self._compare(tenant)

    def changed(self, change: Change) -> None:
        """Note what a reader has seen."""
        for tenant in change.tenants or ():
            self._seen[tenant] = time.perf_counter()
            self._compare(tenant)

    def _compare(self, tenant: str) -> None:
        if tenant in self._seen and tenant in self._acknowledged:
            # A reader may be faster than the answer.
            age = self._seen.pop(tenant) - self._acknowledged.pop(tenant)
            self.milliseconds.append(max(age, 0.0) * 1000)


async def readers(services: Services, directory: Path) -> list[Figure]:
    """Report breakers over HTTP, one after the other, each of another tenant."""
    figures = []
    for count in COUNTS:
        async with stage(services, directory, api=True) as ours, AsyncExitStack() as stack:
            assert ours.api is not None
            scope = "sleep:read-any sleep:emit-any"
            token = ours.installation.key.token(TokenClaims(ISSUER, AUDIENCE, "bench", scope, None, 3600))
            # The API sends to its clients in some order: the first one is measured, and the last.
            measured = [Ages() for _ in range(min(count, 2))]
            for number, ages in enumerate(measured):
                if number:
                    await stack.enter_async_context(others(ours.api.url, token, count - len(measured)))
                reader = AsyncSleepReader(ours.api.url, token, on_change=ages.changed)
                await (await stack.enter_async_context(reader)).wait_ready(_SECONDS)
            before = ours.meter.read()
            await _probe(ours.api.url, token, measured)
            cpu = ours.meter.spent(before, _PROBES)
            sample = [age for ages in measured for age in ages.milliseconds[_WARM_UP:]]
            name = f"event acknowledged to reader, {count} reader{'s' if count > 1 else ''}"
            figures.append(Figure(name, None, Latencies.of(sample), cpu, {"events": float(_PROBES - _WARM_UP)}))
    return figures


async def _probe(url: str, token: str, measured: list[Ages]) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents+json"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_SECONDS, trust_env=False) as client:
        for number in range(_PROBES):
            tenant = f"probe-{number}"
            value = event_bytes(events.BREAKER, {"breaker": "probe", "state": "open"}, tenant, id_=tenant)
            (await client.post("/api/breakers/events", content=value)).raise_for_status()
            for ages in measured:
                ages.acknowledged(tenant)
            await asyncio.sleep(_INTERVAL_SECONDS)
    async with asyncio.timeout(_SECONDS):
        while any(len(ages.milliseconds) < _PROBES for ages in measured):
            await asyncio.sleep(_INTERVAL_SECONDS)


@asynccontextmanager
async def others(url: str, token: str, count: int) -> AsyncIterator[None]:
    """Hold so many streams open in another process, which only takes their bytes."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, url, str(count), env=os.environ | {"SLEEP_TOKEN": token}, stdout=PIPE
    )  # fmt: skip
    assert program.stdout is not None
    try:
        async with asyncio.timeout(_SECONDS):
            assert await program.stdout.readline() == b"open\n"
        yield
    finally:
        program.kill()
        await program.communicate()


async def _hold(url: str, count: int) -> None:
    _, _, authority = url.partition("//")
    host, _, port = authority.rpartition(":")
    token = os.environ["SLEEP_TOKEN"]
    head = f"GET /api/states/events HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {token}\r\n\r\n"
    streams = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode())
        await reader.readuntil(b"event: ready")
        streams.append((reader, writer))
    print("open", flush=True)

    async def take(reader: asyncio.StreamReader) -> None:
        while await reader.read(65_536):
            pass

    await asyncio.gather(*(take(reader) for reader, _ in streams))


if __name__ == "__main__":
    asyncio.run(_hold(sys.argv[1], int(sys.argv[2])))
