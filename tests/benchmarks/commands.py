"""Synchronous commands and reads over HTTP: token, policy and limit checked, as always."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final

from tests.benchmarks.end_state import require_plain_fold
from tests.benchmarks.figures import Figure, Latencies, WrongEndError
from tests.benchmarks.http import Caller
from tests.benchmarks.stage import Stage, stage, warm_up
from tests.services import Services, UnavailableError
from tests.services.opa import start_opa

CALLERS: Final = (1, 8, 32, 128)
SECONDS: Final = 6.0
"""How long each number of callers is measured."""
_WARM_UP_SECONDS: Final = 3.0
_WARM_UP_CALLERS: Final = 32

Request = Callable[[Caller, int], Awaitable[int]]
"""Sends one request, told its number; returns the status of the answer."""


async def commands(services: Services, directory: Path) -> list[Figure]:
    """Measure commands whose policy question was asked before, those with new ones, and reads."""
    async with stage(services, directory, api=True) as ours:
        figures = [
            *await _measured(ours, "sync command", _alternate, CALLERS),
            *await _measured(ours, "sync command, new question", _new_question, (1, 32)),
            *await _measured(ours, "GET sleep_mode", _read, (1, 32)),
        ]
        await ours.installation.caught_up()
        await require_plain_fold(ours.installation)
    return figures


async def opa_commands(services: Services, directory: Path) -> list[Figure]:
    """Measure commands that ask an OPA server; none where this machine can give no server."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(start_opa(services.kind))
        except UnavailableError as error:
            print(f"no OPA server: {error}")
            return []
        async with stage(services, directory, api=True, opa=server) as ours:
            figures = await _measured(ours, "sync command, OPA server", _alternate, (1, 32))
            await ours.installation.caught_up()
            await require_plain_fold(ours.installation)
    return figures


async def _measured(ours: Stage, name: str, request: Request, callers: tuple[int, ...]) -> list[Figure]:
    await until_served(ours)

    async def round_of() -> int:
        return len((await _run(ours, request, _WARM_UP_CALLERS, _WARM_UP_SECONDS))[0])

    await warm_up(ours.meter, round_of)
    return [await _figure(ours, f"{name}, {number} callers", request, number) for number in callers]


async def measured_mode_changes(ours: Stage, name: str, callers: int, seconds: float) -> Figure:
    """Measure commands on a stage that others measure too."""
    return await _figure(ours, name, _alternate, callers, seconds)


async def _figure(ours: Stage, name: str, request: Request, callers: int, seconds: float = SECONDS) -> Figure:
    before, started = ours.meter.read(), time.perf_counter()
    latencies, statuses = await _run(ours, request, callers, seconds)
    elapsed = time.perf_counter() - started
    cpu = ours.meter.spent(before, len(latencies))
    # A command that waits longer than the API does is answered 202, one whose policy does not answer in time 503.
    more = {f"answers of {status}": float(statuses.pop(status)) for status in (202, 503) if status in statuses}
    if set(statuses) != {200}:
        raise WrongEndError(f"{name}: the answers were {dict(statuses)}")
    return Figure(name, len(latencies) / elapsed, Latencies.of(latencies), cpu, more)


async def _run(ours: Stage, request: Request, callers: int, seconds: float) -> tuple[list[float], Counter[int]]:
    """Let so many callers send one request after the other, each for a tenant of its own."""
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    end = time.perf_counter() + seconds
    assert ours.api is not None
    tokens = [ours.api.token(f"tenant-{number}") for number in range(callers)]

    async def run(token: str) -> None:
        caller = await Caller.connect(ours.port, token)
        for number in count():
            started = time.perf_counter()
            if started > end:
                break
            statuses[await request(caller, number)] += 1
            latencies.append((time.perf_counter() - started) * 1000)
        caller.close()

    await asyncio.gather(*(run(token) for token in tokens))
    return latencies, statuses


async def until_served(ours: Stage) -> None:
    """Return once a command goes through."""
    assert ours.api is not None
    token = ours.api.token("tenant-0")
    async with asyncio.timeout(60):
        while True:
            try:
                caller = await Caller.connect(ours.port, token)
                if await caller.mode("active") == 200:
                    caller.close()
                    return
            except (OSError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(0.2)


async def _alternate(caller: Caller, number: int) -> int:
    return await caller.mode(("light", "active")[number % 2])


def _lifetimes() -> Iterator[float]:
    """Yield lifetimes that no question held before, of a day at most."""
    return (round(60 + number / 1000, 3) for number in count())


_lifetime = _lifetimes()


async def _new_question(caller: Caller, _: int) -> int:
    return await caller.mode("light", next(_lifetime))


async def _read(caller: Caller, _: int) -> int:
    return await caller.get("/api/brain/sleep_mode")
