"""`python -m tests.attack.soak --minutes 60`: mixed load, and what memory each of our processes has in the end.

Everything of the fault runs writes, reads and asks, and nothing is hurt. Resident memory is the median of a minute's
samples. At the end it may be 10 % more than after ten minutes. Then everything is held against the fold.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Final

import httpx

from tests.faults.callers import Callers
from tests.faults.emitters import TENANTS, Emitters
from tests.faults.fleet import Fleet
from tests.faults.gate import Gate
from tests.faults.past import Past
from tests.faults.peace import Peace
from tests.faults.verdict import Evidence, judge, now_ms
from tests.services import Namespace, Services, start_services
from tests.support.installation import Installation, Process
from tests.support.resident import resident_mib

PARTITIONS: Final = 6
MOST_GROWTH: Final = 0.10
SETTLED_SECONDS: Final = 600.0
_WORKERS: Final = 2
_CALLERS: Final = 2
_STREAMS: Final = 3
_SAMPLE_SECONDS: Final = 5.0
_WINDOW_SECONDS: Final = 60.0
_STREAM_SECONDS: Final = 45.0
_PEACE_SECONDS: Final = 7.0
_PAGES: Final = ("/healthz", "/readyz", "/status", "/metrics", "/version", "/openapi.json")
_READS: Final = ("/api/brain/sleep_mode", "/api/brain/sleep_policy", "/api/util/sleep")


class Samples:
    """Resident memory of processes over time, in MiB."""

    def __init__(self, processes: dict[str, Process]) -> None:
        self._processes = processes
        self._samples: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
        self._began = time.monotonic()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            for name, process in self._processes.items():
                assert process.running, f"{name} ended by itself"
                self._samples[name].append((time.monotonic() - self._began, resident_mib(process.pid)))
            await asyncio.sleep(_SAMPLE_SECONDS)

    def table(self, settled_seconds: float) -> tuple[str, bool]:
        """Return a line a process, and whether each is within its bound."""
        lines = [f"{'process':10} {'at start':>9} {f'at {settled_seconds / 60:g} min':>10} {'at the end':>11}  change"]
        within_all = True
        for name, samples in self._samples.items():
            last = samples[-1][0]
            settled = _median(samples, settled_seconds, settled_seconds + _WINDOW_SECONDS)
            end = _median(samples, last - _WINDOW_SECONDS, last)
            growth = end / settled - 1
            within = growth <= MOST_GROWTH
            within_all &= within
            lines.append(
                f"{name:10} {samples[0][1]:5.1f} MiB {settled:6.1f} MiB {end:7.1f} MiB  {growth:+.1%}, "
                f"{'within' if within else 'NOT within'} {MOST_GROWTH:.0%}"
            )
        return "\n".join(lines), within_all


def _median(samples: list[tuple[float, float]], begin: float, end: float) -> float:
    return median(mib for at, mib in samples if begin <= at <= end)


class Readers:
    """Reads documents, pages and event streams of any tenant."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.reads = 0
        self._fleet = fleet
        self._random = random.Random(seed)

    async def run(self) -> None:
        """Read until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            for _ in range(_STREAMS):
                group.create_task(self._listen())

    async def _read(self) -> None:
        urls = [door.url for door in self._fleet.doors] + [worker.url for worker in self._fleet.workers]
        async with httpx.AsyncClient(timeout=30.0) as client:
            while True:
                with suppress(httpx.TransportError):
                    for page in _PAGES:
                        await client.get(self._random.choice(urls) + page)
                    for path in _READS:
                        door = self._fleet.doors[0]
                        headers = {"Authorization": f"Bearer {door.token(self._tenant())}"}
                        await client.get(door.url + path, headers=headers)
                self.reads += len(_PAGES) + len(_READS)
                await asyncio.sleep(1)

    async def _listen(self) -> None:
        while True:
            async with self._fleet.doors[0].client(self._tenant()) as client:
                with suppress(httpx.TransportError, TimeoutError):
                    async with (
                        asyncio.timeout(self._random.uniform(1, _STREAM_SECONDS)),
                        client.stream("GET", "/api/brain/sleep_events") as stream,
                    ):
                        async for _ in stream.aiter_raw():
                            pass

    def _tenant(self) -> str:
        return f"tenant-{self._random.randrange(TENANTS)}"


async def soak(services: Services, directory: Path, seconds: float, seed: int, rate: float) -> bool:
    """Run the load, print the table, and return whether every process stayed within its bound.

    Raises:
        AssertionError: if what is stored or answered differs from the fold.
    """
    settled = min(SETTLED_SECONDS, seconds / 2)
    async with AsyncExitStack() as stack:
        installation = await stack.enter_async_context(
            Installation.open(services, Namespace.fresh(), directory, partitions=PARTITIONS)
        )
        fleet, gate = Fleet(installation), Gate()
        fleet.add_workers(_WORKERS)
        await fleet.open_door()
        peace = Peace(installation, fleet)
        await peace.works()
        processes = {f"worker {number}": worker.process for number, worker in enumerate(fleet.workers, 1)}
        samples = Samples(processes | {"API": fleet.doors[0].process})
        emitters = Emitters(installation, gate, seed, rate)
        callers, readers = Callers(fleet, gate, seed + 1, _CALLERS), Readers(fleet, seed + 2)
        load = [asyncio.create_task(each.run()) for each in (samples, emitters, callers, readers)]
        try:
            done, _ = await asyncio.wait(load, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            async with gate.shut():
                for task in load:
                    task.cancel()
                await asyncio.gather(*load, return_exceptions=True)
        table, held = samples.table(settled)
        print(
            f"{emitters.written:,} records, {len(callers.commands):,} commands, {len(callers.emitted):,} events over "
            f"HTTP, {readers.reads:,} reads in {seconds / 60:g} minutes\n{table}",
            flush=True,
        )
        await peace.rest(_PEACE_SECONDS)
        fleet.check()
        # What comes due while the processes end, which takes half a minute on a busy machine, is nobody's to wake.
        ended_at = now_ms()
        await fleet.end()
        pasts = [Past(installation, partition) for partition in range(PARTITIONS)]
        await asyncio.gather(*(past.read_on() for past in pasts))
        await judge(installation, Evidence(pasts, callers.commands, callers.emitted, ended_at), random.Random(~seed))
        print(f"{sum(len(past.records) for past in pasts):,} events in the log: Redis and every answer agree with it")
        return held


def main() -> int:
    """Run what the arguments say; 1 where a process grew beyond its bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, by default 60")
    parser.add_argument("--seed", type=int, default=1, help="makes the same load again, by default 1")
    parser.add_argument("--rate", type=float, default=40.0, help="records a second, by default 40")
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="sleep-soak-"))
    with start_services() as services:
        print(f"services: {services}; logs are in {directory}", flush=True)
        passed = asyncio.run(soak(services, directory, arguments.minutes * 60, arguments.seed, arguments.rate))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
