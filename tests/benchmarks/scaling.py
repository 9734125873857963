"""More workers, more tenants, and a worker that dies."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.benchmarks.end_state import require_plain_fold
from tests.benchmarks.figures import Figure
from tests.benchmarks.stage import stage
from tests.benchmarks.throughput import EVENTS, breaker_event, heartbeats, worker_figure
from tests.services import Services
from tests.support.records import Sent

WORKERS: Final = (1, 2, 4)
TENANTS: Final = (1_000, 1_000_000)


async def scaling(services: Services, directory: Path) -> list[Figure]:
    """Measure the same events with 1, 2 and 4 worker processes."""

    def load(count: int, partitions: int) -> Iterator[Sent]:
        return heartbeats(count, partitions)

    return [
        await worker_figure(f"events, {number} workers", services, directory, load, EVENTS, workers=number)
        for number in WORKERS
    ]


async def tenants(services: Services, directory: Path) -> list[Figure]:
    """Measure an event's cost among 1,000 tenants and among 1,000,000, of whom each event meets another one."""
    figures = []
    for number in TENANTS:

        def load(count: int, partitions: int, tenants: int = number) -> Iterator[Sent]:
            return heartbeats(count, partitions, tenants=tenants)

        figures.append(await worker_figure(f"events of {number:,} tenants", services, directory, load, EVENTS))
    return figures


async def takeover(services: Services, directory: Path) -> list[Figure]:
    """Kill one of two workers, and see for how long partitions stand still."""
    async with stage(services, directory, workers=2) as ours:
        installation = ours.installation
        partitions = installation.settings.partitions
        await installation.write(heartbeats(1_000, partitions))
        await installation.caught_up()
        ours.workers[0].kill()
        killed = time.perf_counter()
        # One event a partition: all are there again once each has been applied.
        await installation.write(
            breaker_event(f"tenant-{index}", "payments", "pod-0", "open", index, partitions) for index in range(500)
        )
        await installation.caught_up()
        seconds = time.perf_counter() - killed
        await require_plain_fold(installation)
    return [Figure("takeover after kill -9", more={"seconds until every partition goes on": seconds})]
