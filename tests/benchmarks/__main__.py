"""`python -m tests.benchmarks [NAME ...] [--json FILE]`: measure on real services, and print."""

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.commands import commands, opa_commands
from tests.benchmarks.figures import Figure, header, row, write_json
from tests.benchmarks.freshness import freshness
from tests.benchmarks.neighbour import neighbour
from tests.benchmarks.peer.measure import peer_commands
from tests.benchmarks.scaling import scaling, takeover, tenants
from tests.benchmarks.storm import storm
from tests.benchmarks.throughput import throughput
from tests.benchmarks.timers import timers
from tests.services import Services, start_services

BENCHMARKS: Final[dict[str, Callable[[Services, Path], Coroutine[Any, Any, list[Figure]]]]] = {
    "commands": commands,
    "peer": peer_commands,
    "opa": opa_commands,
    "throughput": throughput,
    "storm": storm,
    "timers": timers,
    "freshness": freshness,
    "neighbour": neighbour,
    "scaling": scaling,
    "tenants": tenants,
    "takeover": takeover,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--json", type=Path, help="keep the figures in this file too")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    figures: list[Figure] = []
    with start_services() as services, tempfile.TemporaryDirectory() as directory:
        print(f"services: {services}\n{header()}", flush=True)
        for name in arguments.names or BENCHMARKS:
            for figure in asyncio.run(BENCHMARKS[name](services, Path(directory))):
                figures.append(figure)
                print(row(figure), flush=True)
        if arguments.json:
            write_json(arguments.json, str(services), figures)


if __name__ == "__main__":
    main()
