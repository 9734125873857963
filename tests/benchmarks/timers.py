"""The lag of 5,000 timers that fall due within one second."""

import asyncio
import statistics
import time
from typing import Final, NamedTuple

from pydantic_core import from_json

from schemas import events
from schemas.cloudevents import encode
from schemas.partition import partition_of
from tests.installation import Installation
from tests.load import Sent

TIMERS: Final = 5_000
_TTL_MS: Final = 6_000


class Lags(NamedTuple):
    """Milliseconds from a sleep's end to its audit row being appended, and how many ended early."""

    p50: float
    p99: float
    worst: float
    early: int
    within_ms: int


async def timer_lags(installation: Installation) -> Lags:
    """Put 5,000 tenants to sleep for 6 seconds, all at once, and see when they wake."""
    worker = installation.start("worker")
    try:
        await installation.write([_sleep("warm-up", 1, installation.settings.partitions)])
        await installation.caught_up()
        partitions = installation.settings.partitions
        await installation.write([_sleep(f"tenant-{index}", _TTL_MS, partitions) for index in range(TIMERS)])
        await installation.caught_up()
        await asyncio.sleep(_TTL_MS / 1000 + 4)
    finally:
        await asyncio.to_thread(worker.stop)
    rows: list[tuple[int, int]] = []
    for partition in range(partitions):
        for record in await installation.read(installation.settings.topics.transitions, partition):
            row = from_json(record.value or b"")
            if row["cause"] is not None and row["cause"]["kind"] == "expired" and row["tenant"] != "warm-up":
                rows.append((row["at"], record.timestamp))
    assert len(rows) == TIMERS, f"{len(rows)} of {TIMERS} woke"
    lags = [appended - due for due, appended in rows]
    cuts = statistics.quantiles(lags, n=100)
    dues = [due for due, _ in rows]
    return Lags(cuts[49], cuts[98], max(lags), sum(lag < 0 for lag in lags), max(dues) - min(dues))


def _sleep(tenant: str, ttl_ms: int, partitions: int) -> Sent:
    data = {"operation_id": f"bench-{tenant}-{time.time_ns()}", "target": "deep", "ttl_ms": ttl_ms, "actor": "bench"}
    value = encode(type_=events.OPERATION, id_=tenant, source="urn:bench", subject=tenant, time=None, data=data)
    return Sent(tenant, value, partition_of(tenant, partitions))
