"""The lag of timers that fall due within one second."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic_core import from_json

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from tests.benchmarks.end_state import require_plain_fold
from tests.benchmarks.figures import Figure, Latencies, WrongEndError
from tests.benchmarks.stage import stage
from tests.services import Services
from tests.support.events import event_bytes
from tests.support.installation import Installation
from tests.support.records import Sent

_FEW: Final = 5_000
_MANY: Final = 100_000
_AHEAD_MS: Final = {_FEW: 20_000, _MANY: 120_000}
"""How long they sleep: longer than it takes to put all of them to sleep."""
_SPREAD_MS: Final = 1_000
_SETTLE_SECONDS: Final = 30.0


async def timers(services: Services, directory: Path) -> list[Figure]:
    """Put tenants to sleep until one second, and see when each wakes."""
    return [await _timers(services, directory, _FEW)]


async def many_timers(services: Services, directory: Path) -> list[Figure]:
    """Do the same with more tenants than wake within that second."""
    return [await _timers(services, directory, _MANY)]


async def _timers(services: Services, directory: Path, count: int) -> Figure:
    async with stage(services, directory) as ours:
        installation = ours.installation
        partitions = installation.settings.partitions
        await installation.write([_sleep("warm-up", 1, partitions)])
        await installation.caught_up()
        due = _now_ms() + _AHEAD_MS[count]
        for partition in range(partitions):
            await installation.write(_sleeps(count, due, partition, partitions))
        await installation.caught_up(300)
        if _now_ms() > due:
            raise WrongEndError(f"{count} tenants were not asleep when the first fell due: it would be another figure")
        await asyncio.sleep(due / 1000 - time.time())
        before = ours.meter.read()
        wakes = await _wakes(installation, count)
        cpu = ours.meter.spent(before, count)
        await installation.caught_up()
        await require_plain_fold(installation, None if count == _FEW else [0])
    lags = [appended - fell_due for fell_due, appended in wakes]
    early = sum(lag < 0 for lag in lags)
    if early:
        raise WrongEndError(f"{early} of {count} timers were early")
    spread = max(fell_due for fell_due, _ in wakes) - min(fell_due for fell_due, _ in wakes)
    more = {"within ms": float(spread), "worst ms": float(max(lags))}
    return Figure(f"lag of {count:,} timers", None, Latencies.of(lags), cpu, more)


def _sleeps(count: int, due: int, partition: int, partitions: int) -> Iterator[Sent]:
    """Yield a partition's sleeps, which end evenly within the second after an instant.

    The end of a sleep counts from the log's own time. So each partition's are made when they are about to be written.
    """
    for index in range(count):
        tenant = f"tenant-{index}"
        if partition_of(tenant, partitions) == partition:
            yield _sleep(tenant, due + index * _SPREAD_MS // count - _now_ms(), partitions)


async def _wakes(installation: Installation, count: int) -> list[tuple[int, int]]:
    """Return when each tenant's sleep ended, and when its row was appended."""
    deadline = time.monotonic() + _SETTLE_SECONDS + count / 1_000
    while True:
        rows: list[tuple[int, int]] = []
        for partition in range(installation.settings.partitions):
            for record in await installation.read(installation.settings.topics.transitions, partition):
                row = from_json(record.value or b"")
                if row["cause"] is not None and row["cause"]["kind"] == "expired" and row["tenant"] != "warm-up":
                    rows.append((row["at"], record.timestamp))
        if len(rows) >= count:
            return rows
        if time.monotonic() > deadline:
            raise WrongEndError(f"{len(rows)} of {count} woke")
        await asyncio.sleep(1)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _sleep(tenant: str, ttl_ms: int, partitions: int) -> Sent:
    data = {"operation_id": f"bench-{tenant}-{time.time_ns()}", "target": "deep", "ttl_ms": ttl_ms, "actor": "bench"}
    value = event_bytes(events.OPERATION, data, tenant, id_=tenant, source="urn:bench")
    return Sent(tenant, value, partition_of(tenant, partitions))
