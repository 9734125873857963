"""`python -m tests.benchmarks [NAME ...] [--json FILE]`: measure on real services, and print."""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.commands import commands, opa_commands
from tests.benchmarks.emitter import emitter
from tests.benchmarks.figures import Figure, WrongEndError, header, row, write_json
from tests.benchmarks.freshness import freshness
from tests.benchmarks.gate import gate
from tests.benchmarks.neighbour import neighbour
from tests.benchmarks.peer.measure import peer_commands
from tests.benchmarks.reader import reader
from tests.benchmarks.readers import readers
from tests.benchmarks.scaling import scaling, takeover, tenants
from tests.benchmarks.storm import storm
from tests.benchmarks.throughput import throughput
from tests.benchmarks.timers import many_timers, timers
from tests.services import Services, start_services
from tests.services.broker_config import JVM

BENCHMARKS: Final[dict[str, Callable[[Services, Path], Coroutine[Any, Any, list[Figure]]]]] = {
    "commands": commands,
    "peer": peer_commands,
    "opa": opa_commands,
    "throughput": throughput,
    "storm": storm,
    "timers": timers,
    "many_timers": many_timers,
    "freshness": freshness,
    "neighbour": neighbour,
    "scaling": scaling,
    "tenants": tenants,
    "takeover": takeover,
    "emitter": emitter,
    "reader": reader,
    "readers": readers,
    "gate": gate,
}


def main() -> int:
    """Run the named benchmarks, or all; return 1 if one ended wrong, whose figures are not shown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--json", type=Path, help="keep the figures in this file too")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    # Kafka as it runs in production. With the compiler of the tests it takes twice the processor time.
    os.environ.setdefault(JVM, "full")
    figures: list[Figure] = []
    wrong = False
    with start_services() as services, tempfile.TemporaryDirectory() as directory:
        print(f"services: {services}\n{header()}", flush=True)
        for name in arguments.names or BENCHMARKS:
            try:
                measured = asyncio.run(BENCHMARKS[name](services, Path(directory)))
            except WrongEndError as error:
                wrong = True
                print(f"{name}: {error}", flush=True)
                continue
            figures += measured
            for figure in measured:
                print(row(figure), flush=True)
        if arguments.json:
            write_json(arguments.json, str(services), figures)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
