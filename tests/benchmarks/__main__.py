"""`python -m tests.benchmarks [throughput|commands|timers|door ...]`: measure on real services, and print."""

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.commands import CALLERS, command_latencies
from tests.benchmarks.door import door_costs
from tests.benchmarks.throughput import TEXTBOOK_EVENTS, WORKER_EVENTS, textbook_rate, worker_rate
from tests.benchmarks.timers import TIMERS, timer_lags
from tests.installation import Installation
from tests.services import Namespace, Services, start_services
from tests.services.base import UnavailableError
from tests.services.opa import start_opa


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


async def _door(services: Services, directory: Path) -> None:
    with ExitStack() as stack:
        try:
            opa: str | None = stack.enter_context(start_opa(services.kind)).address
        except UnavailableError as error:
            print(f"no OPA server: {error}")
            opa = None
        async with Installation.open(services, Namespace.fresh(), directory) as installation:
            costs = await door_costs(installation, opa)
    print(
        f"{'sync command':26} {'1 caller: p50':>14} {'p99':>8}   {f'{CALLERS} callers: p50':>18} {'p99':>8} "
        f"{'rate':>8} {'503':>4}"
    )
    for name, (one, many) in costs.items():
        print(
            f"{name:26} {one.p50:11.1f} ms {one.p99:5.1f} ms {many.p50:15.1f} ms {many.p99:5.1f} ms "
            f"{many.rate:6,.0f}/s {one.unavailable + many.unavailable:4.0f}"
        )


BENCHMARKS = {"throughput": _throughput, "commands": _commands, "timers": _timers, "door": _door}


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    with start_services() as services, tempfile.TemporaryDirectory() as directory:
        print(f"services: {services}")
        for name in names or BENCHMARKS:
            asyncio.run(BENCHMARKS[name](services, Path(directory)))


if __name__ == "__main__":
    main(sys.argv[1:])
