"""Many runs on all cores, and what they found."""

import gc
import multiprocessing
import os
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Final

from tests.simulation.broken import broken
from tests.simulation.run import Outcome, simulate

_SLICE: Final = 20
_GC_THRESHOLDS: Final = (50_000, 20, 50)


@dataclass
class Report:
    """What many runs found.

    Attributes:
        runs: how many there were.
        nontrivial: in how many a fault hit a batch in flight and events were applied after it.
        hits: how many faults hit a batch in flight, in all.
        events: how many records were folded, in all logs.
        refused: in how many runs a lane refused to go on with an emptied store.
        failures: what did not hold, by seed.
    """

    runs: int = 0
    nontrivial: int = 0
    hits: int = 0
    events: int = 0
    refused: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        self.runs += 1
        self.nontrivial += outcome.nontrivial
        self.hits += outcome.hits
        self.events += outcome.events
        self.refused += outcome.refused
        if outcome.failure is not None:
            self.failures[outcome.seed] = outcome.failure

    def __str__(self) -> str:
        """The figures in a line, then a line a failure."""
        figures = (
            f"{self.runs:,} runs, {self.nontrivial:,} non-trivial ({self.nontrivial / max(self.runs, 1):.0%}), "
            f"{self.events:,} events, {self.hits:,} faults on a batch in flight, "
            f"{self.refused:,} runs in which an emptied store was refused, {len(self.failures):,} failed"
        )
        again = "python -m tests.simulation --verbose --seed"
        return "\n".join([figures, *(f"{again} {seed}: {text}" for seed, text in sorted(self.failures.items()))])


def sweep(first: int, count: int, *, without: str | None = None) -> Generator[Report]:
    """Run seeds on all cores; yield the report so far after each slice. Whoever has seen enough closes the iterator.

    Args:
        first: the first seed.
        count: how many.
        without: what to take away from the pipeline, see `broken`.
    """
    report = Report()
    starts = range(first, first + count, _SLICE)
    # Spawned: nothing of this process, such as pytest's threads, is of use there.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"), _prepare) as pool:
        slices = [pool.submit(_run, start, min(start + _SLICE, first + count), without) for start in starts]
        try:
            for done in as_completed(slices):
                for outcome in done.result():
                    report.add(outcome)
                yield report
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """As the worker does: a run makes many short-lived objects, and what was imported need not be looked through."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _run(start: int, end: int, without: str | None) -> list[Outcome]:
    with broken(without):
        outcomes = [simulate(seed) for seed in range(start, end)]
    # Runs leave cycles behind, which would wait for a thousand full thresholds: gigabytes in an hour.
    gc.collect()
    return outcomes
