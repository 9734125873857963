"""The same measurements of the peer: commands and reads over HTTP; it checks no token, policy or limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Final

from tests.benchmarks.commands import SECONDS
from tests.benchmarks.figures import Figure, Latencies, WrongEndError
from tests.benchmarks.http import Caller
from tests.benchmarks.peer.server import Peer, peer
from tests.services import Services, UnavailableError

_WARM_UP_SECONDS: Final = 6.0
_STATES: Final = ("light", "active")

Request = Callable[[Caller, str, int], Awaitable[int]]


async def peer_commands(services: Services, directory: Path) -> list[Figure]:
    """Measure the peer with 1 and 32 callers; nothing where it cannot be installed."""
    try:
        async with peer(services, directory) as running:
            await _run(running, _command, 32, _WARM_UP_SECONDS)
            return [
                await _figure(running, "peer: sync command, 1 callers", _command, 1),
                await _figure(running, "peer: sync command, 32 callers", _command, 32),
                await _figure(running, "peer: read, 1 callers", _read, 1),
                await _figure(running, "peer: read, 32 callers", _read, 32),
            ]
    except UnavailableError as error:
        print(f"no peer: {error}")
        return []


async def _figure(running: Peer, name: str, request: Request, callers: int) -> Figure:
    before, started = running.meter.read(), time.perf_counter()
    latencies = await _run(running, request, callers, SECONDS)
    elapsed = time.perf_counter() - started
    return Figure(name, len(latencies) / elapsed, Latencies.of(latencies), running.meter.spent(before, len(latencies)))


async def _run(running: Peer, request: Request, callers: int, seconds: float) -> list[float]:
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def run(tenant: str) -> None:
        caller = await Caller.connect(running.port, "none")
        for number in count():
            started = time.perf_counter()
            if started > end:
                break
            status = await request(caller, tenant, number)
            if status != 200:
                raise WrongEndError(f"the peer answers {status}: {caller.answer!r}")
            latencies.append((time.perf_counter() - started) * 1000)
        caller.close()

    await asyncio.gather(*(run(f"tenant-{number}") for number in range(callers)))
    return latencies


async def _command(caller: Caller, tenant: str, number: int) -> int:
    return await caller.post(f"/Tenant/{tenant}/command", {"target_state": _STATES[number % 2]})


async def _read(caller: Caller, tenant: str, _: int) -> int:
    return await caller.get(f"/Tenant/{tenant}/show")
