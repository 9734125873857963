"""`python -m tests.simulation`: run many seeds on all cores, or one again with its trace.

python -m tests.simulation --seeds 100000
python -m tests.simulation --seed 4711 --verbose
python -m tests.simulation --seeds 500 --without "the hole rule"
"""

import argparse
import sys
import time
from typing import Final

from tests.simulation.broken import BREAKS, broken
from tests.simulation.run import simulate
from tests.simulation.sweep import Report, sweep

# A run of an hour says how far it is, on whatever it prints to.
_LINE: Final = 10_000


def main() -> int:
    """Run what the arguments say; 1 where anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--verbose", action="store_true", help="print its trace")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many to run, by default 2,000")
    parser.add_argument("--first", type=int, default=0, help="the first of them, by default 0")
    parser.add_argument("--without", choices=BREAKS, help="take away what the pipeline rests on")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed, arguments.without, verbose=arguments.verbose)
    return _many(arguments.first, arguments.seeds, arguments.without)


def _one(seed: int, without: str | None, *, verbose: bool) -> int:
    with broken(without):
        outcome = simulate(seed, verbose=verbose)
    print(*outcome.trace, sep="\n")
    print(
        f"seed {seed}: {outcome.events} events, {outcome.hits} faults on a batch in flight: {outcome.failure or 'ok'}"
    )
    return outcome.failure is not None


def _many(first: int, count: int, without: str | None) -> int:
    report, began, last_shown, next_line = Report(), time.monotonic(), 0.0, _LINE
    for report in sweep(first, count, without=without):
        if report.runs >= next_line:
            next_line += _LINE
            print(f"{time.monotonic() - began:,.0f} s: {report}", flush=True)
        if sys.stderr.isatty() and time.monotonic() - last_shown > 1:
            last_shown = time.monotonic()
            print(
                f"\r{report.runs:,} of {count:,}, {len(report.failures)} failed ", end="", file=sys.stderr, flush=True
            )
    print(f"seeds {first:,} to {first + count - 1:,}: {report}")
    print(f"{time.monotonic() - began:,.0f} s")
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
