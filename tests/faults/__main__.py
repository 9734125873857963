"""`python -m tests.faults --seconds N --seed S`: everything fails by a schedule, on real services, and is checked."""

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.faults.chaos import opened
from tests.faults.schedule import schedule
from tests.services import start_services


def main() -> int:
    """Run what the arguments say; 1 where anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long faults go on, by default 120")
    parser.add_argument("--seed", type=int, default=1, help="makes the same schedule and load again, by default 1")
    parser.add_argument("--plan", action="store_true", help="print the schedule and run nothing")
    arguments = parser.parse_args()
    steps = schedule(arguments.seed, arguments.seconds)
    plan = "\n".join(map(str, steps))
    if arguments.plan:
        print(plan)
        return 0
    # What it says of a broker that is away is known.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="sleep-chaos-"))
    print(f"seed {arguments.seed}, {arguments.seconds:g} s; logs are in {directory}", flush=True)

    async def run() -> str:
        with start_services() as services:
            print(f"services: {services}", flush=True)
            async with opened(services, directory, steps, arguments.seed) as chaos:
                return str(await chaos.run(lambda line: print(line, flush=True)))

    try:
        print(asyncio.run(run()))
    except BaseException:
        print(f"FAILED: seed {arguments.seed}, logs in {directory}, schedule:\n{plan}", file=sys.stderr)
        raise
    print(f"seed {arguments.seed}: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
