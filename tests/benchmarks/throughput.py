"""Events a second: this worker, and a textbook Faust agent doing the same job, in one run."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from os import environ
from typing import Final

from schemas import events
from schemas.cloudevents import encode
from schemas.partition import partition_of
from tests.installation import Installation
from tests.load import Sent

WORKER_EVENTS: Final = 200_000
TEXTBOOK_EVENTS: Final = 8_000
_TENANTS: Final = 500
# Breakers repeat themselves at least every third of their lease, and trip seldom: 2 in 100 events change one.
_CHANGES: Final = 0.02


def heartbeats(count: int, partitions: int, seed: int = 1) -> Iterator[Sent]:
    """Yield breaker events of 500 tenants with 4 breakers of 2 instances each, few of which change state."""
    chance = random.Random(seed)
    states: dict[tuple[str, str, str], str] = {}
    for index in range(count):
        tenant = f"tenant-{chance.randrange(_TENANTS)}"
        breaker, instance = f"breaker-{chance.randrange(4)}", f"pod-{chance.randrange(2)}"
        name = tenant, breaker, instance
        if name not in states or chance.random() < _CHANGES:
            states[name] = chance.choice(("closed", "open", "half_open"))
        data = {"breaker": breaker, "instance": instance, "state": states[name]}
        value = encode(type_=events.BREAKER, id_=str(index), source="urn:bench", subject=tenant, time=None, data=data)
        yield Sent(tenant, value, partition_of(tenant, partitions))


async def worker_rate(installation: Installation) -> float:
    """Return events a second of one worker process, from its first commit to the end of the log."""
    await installation.write(heartbeats(WORKER_EVENTS, installation.settings.partitions))
    worker = installation.start("worker")

    async def done() -> int:
        return sum((await installation.applied()).values())

    try:
        return await _rate(done, WORKER_EVENTS)
    finally:
        await asyncio.to_thread(worker.stop)


async def textbook_rate(installation: Installation) -> float:
    """Return events a second of the textbook agent, by the records it has sent."""
    await installation.write(heartbeats(TEXTBOOK_EVENTS, installation.settings.partitions))
    agent = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.textbook"],
        env={**environ, **installation.environment},
        stdin=subprocess.DEVNULL,
    )

    async def done() -> int:
        return await installation.length(installation.settings.topics.states)

    try:
        return await _rate(done, TEXTBOOK_EVENTS)
    finally:
        agent.kill()
        agent.wait()


async def _rate(done: Callable[[], Awaitable[int]], count: int) -> float:
    """Return the rate over the last nine tenths of the work, when both sides are warm."""
    async with asyncio.timeout(300):
        while (begun := await done()) < count // 10:
            await asyncio.sleep(0.005)
        started = time.perf_counter()
        while await done() < count:
            await asyncio.sleep(0.005)
    return (count - begun) / (time.perf_counter() - started)
