"""The worst day: every event puts a new tenant to sleep, then everybody wakes at once."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.benchmarks.end_state import require_plain_fold
from tests.benchmarks.figures import Figure, WrongEndError
from tests.benchmarks.processor_time import Meter
from tests.benchmarks.throughput import breaker_event, textbook_storm, trips, with_ratio
from tests.services import Namespace, Services, redis_client
from tests.support.installation import Installation
from tests.support.records import Sent

TENANTS: Final = int(os.environ.get("TENANTS", "200000"))
"""How many tenants trip at once; `make bench ARGS=storm TENANTS=1000000` measures a million."""
WORKERS: Final = int(os.environ.get("WORKERS", "1"))
_POLL_SECONDS: Final = 0.02
_MOST_COMPARED: Final = 250_000
"""Above so many tenants one partition stands for all when the end is compared with a plain fold."""


async def storm(services: Services, directory: Path) -> list[Figure]:
    """Measure the storm, the memory of those who sleep, and the mass wake after it."""
    textbook = await textbook_storm(services, directory)
    async with Installation.open(services, Namespace.fresh(), directory) as installation:
        partitions = installation.settings.partitions
        await installation.write(trips(TENANTS, partitions))
        empty = await _redis_bytes(services)
        workers = [installation.start("worker") for _ in range(WORKERS)]
        meter = Meter(services, {"worker": workers})
        try:
            asleep = await _applied(f"storm of {TENANTS:,} tenants", installation, meter, TENANTS)
            grown = await _redis_bytes(services) - empty
            await _require_asleep(installation)
            await installation.write(_all_closed(partitions))
            awake = await _applied(f"mass wake of {TENANTS:,}", installation, meter, 2 * TENANTS, begun=TENANTS)
        finally:
            for process in workers:
                await asyncio.to_thread(process.stop)
        await require_plain_fold(installation, None if TENANTS <= _MOST_COMPARED else [0])
    asleep = asleep._replace(more={**asleep.more, "Redis bytes a sleeping tenant": grown / TENANTS})
    return [textbook, with_ratio(asleep, textbook), awake]


def _all_closed(partitions: int) -> Iterator[Sent]:
    for index in range(TENANTS):
        yield breaker_event(f"tenant-{index}", "payments", "pod-0", "closed", TENANTS + index, partitions)


async def _applied(name: str, installation: Installation, meter: Meter, count: int, *, begun: int = 0) -> Figure:
    """Wait until so much of the log is applied; the rate counts from the first record applied to the last."""

    async def done() -> int:
        return sum((await installation.applied()).values())

    async with asyncio.timeout(900):
        while await done() <= begun:
            await asyncio.sleep(_POLL_SECONDS)
        before, started = meter.read(), time.perf_counter()
        first = await done()
        while await done() < count:
            await asyncio.sleep(_POLL_SECONDS)
        elapsed = time.perf_counter() - started
    return Figure(name, (count - first) / elapsed, None, meter.spent(before, count - first), {"seconds": elapsed})


async def _require_asleep(installation: Installation) -> None:
    """Raise where not every tenant has a state record."""
    states = await installation.length(installation.settings.topics.states)
    if states < TENANTS:
        raise WrongEndError(f"{states} states of {TENANTS} tenants")


async def _redis_bytes(services: Services) -> int:
    """Return what Redis counts as its memory."""
    client = redis_client(services.redis)
    try:
        info = await client.info("memory")
    finally:
        await client.aclose()
    return int(info["used_memory"])
