"""Breaker events a second: this worker, and a textbook Faust agent that does the same job, in one run."""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from tests.benchmarks.end_state import require_plain_fold
from tests.benchmarks.figures import Figure
from tests.benchmarks.processor_time import Meter
from tests.services import Namespace, Services
from tests.support.events import event_bytes
from tests.support.installation import Installation, Process
from tests.support.records import Sent

EVENTS: Final = 200_000
TEXTBOOK_EVENTS: Final = 8_000
STORM_TEXTBOOK_EVENTS: Final = 5_000
_TENANTS: Final = 500
# Breakers repeat themselves at least every third of their lease, and trip seldom: 2 in 100 events change one.
_CHANGES: Final = 0.02
_POLL_SECONDS: Final = 0.005


def heartbeats(count: int, partitions: int, seed: int = 1, *, tenants: int = _TENANTS) -> Iterator[Sent]:
    """Yield breaker events of tenants with 4 breakers of 2 instances each, few of which change state."""
    chance = random.Random(seed)
    states: dict[tuple[str, str, str], str] = {}
    for index in range(count):
        tenant = f"tenant-{chance.randrange(tenants)}"
        breaker, instance = f"breaker-{chance.randrange(4)}", f"pod-{chance.randrange(2)}"
        name = tenant, breaker, instance
        if name not in states or chance.random() < _CHANGES:
            states[name] = chance.choice(("closed", "open", "half_open"))
        yield breaker_event(tenant, breaker, instance, states[name], index, partitions)


def trips(count: int, partitions: int) -> Iterator[Sent]:
    """Yield one event a tenant that puts it to sleep."""
    for index in range(count):
        yield breaker_event(f"tenant-{index}", "payments", "pod-0", "open", index, partitions)


def breaker_event(tenant: str, breaker: str, instance: str, state: str, index: int, partitions: int) -> Sent:
    """Return a breaker's event as a record."""
    data = {"breaker": breaker, "instance": instance, "state": state}
    value = event_bytes(events.BREAKER, data, tenant, id_=str(index), source="urn:bench")
    return Sent(tenant, value, partition_of(tenant, partitions))


async def throughput(services: Services, directory: Path) -> list[Figure]:
    """Measure events of which 2 in 100 change a state, against the textbook agent."""

    def load(count: int, partitions: int) -> Iterator[Sent]:
        return heartbeats(count, partitions)

    textbook = await _of_textbook("events, textbook agent", services, directory, load(TEXTBOOK_EVENTS, 8))
    worker = await worker_figure("events", services, directory, load, EVENTS)
    return [textbook, with_ratio(worker, textbook)]


def with_ratio(ours: Figure, textbook: Figure) -> Figure:
    """Return a figure that also says how many times the textbook agent's rate it is."""
    assert ours.rate is not None
    assert textbook.rate is not None
    return ours._replace(more={**ours.more, "times the textbook agent": ours.rate / textbook.rate})


async def textbook_storm(services: Services, directory: Path) -> Figure:
    """Measure the textbook agent where each event puts a new tenant to sleep."""
    return await _of_textbook("storm, textbook agent", services, directory, trips(STORM_TEXTBOOK_EVENTS, 8))


async def worker_figure(
    name: str,
    services: Services,
    directory: Path,
    load: Callable[[int, int], Iterator[Sent]],
    count: int,
    *,
    workers: int = 1,
) -> Figure:
    """Measure worker processes on a log that is there before they start; they end as a plain fold does, or raise."""
    async with Installation.open(services, Namespace.fresh(), directory) as installation:
        await installation.write(load(count, installation.settings.partitions))
        started = [installation.start("worker") for _ in range(workers)]

        async def done() -> int:
            return sum((await installation.applied()).values())

        try:
            figure = await _rate(name, done, count, Meter(services, {"worker": started}))
        finally:
            for process in started:
                await asyncio.to_thread(process.stop)
        await require_plain_fold(installation, [0] if count > EVENTS else None)
        return figure


async def _of_textbook(name: str, services: Services, directory: Path, load: Iterator[Sent]) -> Figure:
    """Measure the textbook agent, by the states that it has sent."""
    async with Installation.open(services, Namespace.fresh(), directory) as installation:
        records = list(load)
        await installation.write(records)
        command = [sys.executable, "-m", "tests.benchmarks.textbook"]
        agent = Process("textbook", installation.environment, directory / "textbook.log", command)

        async def done() -> int:
            return await installation.length(installation.settings.topics.states)

        try:
            return await _rate(name, done, len(records), Meter(services, {"worker": [agent]}))
        finally:
            agent.kill()


async def _rate(name: str, done: Callable[[], Awaitable[int]], count: int, meter: Meter) -> Figure:
    """Return the rate over the last nine tenths of the work, when everything is warm."""
    async with asyncio.timeout(600):
        while (begun := await done()) < count // 10:
            await asyncio.sleep(_POLL_SECONDS)
        before, started = meter.read(), time.perf_counter()
        while await done() < count:
            await asyncio.sleep(_POLL_SECONDS)
        elapsed = time.perf_counter() - started
        cpu = meter.spent(before, count - begun)
    return Figure(name, (count - begun) / elapsed, None, cpu, {"seconds": elapsed})
