"""`python -m tests.benchmarks [throughput|commands|timers ...]`: measure on real services, and print."""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.commands import CALLERS, command_latencies
from tests.benchmarks.throughput import TEXTBOOK_EVENTS, WORKER_EVENTS, textbook_rate, worker_rate
from tests.benchmarks.timers import TIMERS, timer_lags
from tests.installation import Installation
from tests.services import Namespace, Services, start_services


async def _throughput(services: Services, directory: Path) -> None:
    async with Installation.open(services, Namespace.fresh(), directory) as installation:
        textbook = await textbook_rate(installation)
    async with Installation.open(services, Namespace.fresh(), directory) as installation:
        worker = await worker_rate(installation)
    print(f"textbook Faust agent   {textbook:10,.0f} events/s   ({TEXTBOOK_EVENTS:,} events)")
    print(f"this worker            {worker:10,.0f} events/s   ({WORKER_EVENTS:,} events)")
    print(f"ratio                  {worker / textbook:10.1f}")


async def _commands(services: Services, directory: Path) -> None:
    async with Installation.open(services, Namespace.fresh(), directory) as installation:
        one, many = await command_latencies(installation)
    print(f"sync command,  1 caller    p50 {one.p50:6.1f} ms   p99 {one.p99:6.1f} ms   {one.rate:7,.0f}/s")
    print(f"sync command, {CALLERS} callers   p50 {many.p50:6.1f} ms   p99 {many.p99:6.1f} ms   {many.rate:7,.0f}/s")


async def _timers(services: Services, directory: Path) -> None:
    async with Installation.open(services, Namespace.fresh(), directory) as installation:
        lags = await timer_lags(installation)
    print(f"{TIMERS:,} timers within {lags.within_ms} ms: lag p50 {lags.p50:.0f} ms, p99 {lags.p99:.0f} ms,")
    print(f"                       worst {lags.worst:.0f} ms, early {lags.early}")


BENCHMARKS = {"throughput": _throughput, "commands": _commands, "timers": _timers}


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    with start_services() as services, tempfile.TemporaryDirectory() as directory:
        print(f"services: {services}")
        for name in names or BENCHMARKS:
            asyncio.run(BENCHMARKS[name](services, Path(directory)))


if __name__ == "__main__":
    main(sys.argv[1:])
