"""What a benchmark measured, printed as a table and kept as JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

PROCESSES: Final = ("api", "worker", "kafka", "redis", "load", "opa", "peer")
"""The processes of a measurement, in the order of the columns."""


class WrongEndError(Exception):
    """The run ended in a state that it should not have: its figures mean nothing."""


class Latencies(NamedTuple):
    """Milliseconds: the median, and the 99th of a hundred."""

    p50: float
    p99: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> "Latencies":
        """Return the cuts of at least two measurements."""
        cuts = statistics.quantiles(milliseconds, n=100, method="inclusive")
        return cls(cuts[49], cuts[98])


class Figure(NamedTuple):
    """One row of the table.

    Attributes:
        name: what was measured.
        rate: units a second; None where only latencies count.
        latencies: of a unit.
        cpu_ms: milliseconds of processor time that each process took for one unit.
        more: other figures by name, the unit in the name.
    """

    name: str
    rate: float | None = None
    latencies: Latencies | None = None
    cpu_ms: Mapping[str, float] = {}
    more: Mapping[str, float] = {}

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON holds it."""
        return {
            "name": self.name,
            "rate_per_s": self.rate,
            "p50_ms": self.latencies and self.latencies.p50,
            "p99_ms": self.latencies and self.latencies.p99,
            "cpu_ms": dict(self.cpu_ms),
            **self.more,
        }


def header() -> str:
    """Return the heads of the columns."""
    cells = [f"{'':44}", f"{'rate/s':>10}", f"{'p50 ms':>8}", f"{'p99 ms':>8}", "  CPU ms for one:"]
    return " ".join(cells + [f"{name:>7}" for name in PROCESSES])


def row(figure: Figure) -> str:
    """Return a figure as a line of the table."""
    latencies = figure.latencies or (None, None)
    cells = [f"{figure.name:44}", _cell(figure.rate, 10, 0), *(_cell(value, 8, 1) for value in latencies)]
    cells.append(" " * len("  CPU ms for one:"))
    cells += [_cell(figure.cpu_ms.get(name), 7, 3) for name in PROCESSES]
    line = " ".join(cells).rstrip()
    return "\n".join([line, *(f"    {name}: {value:,.6g}" for name, value in figure.more.items())])


def _cell(value: float | None, width: int, digits: int) -> str:
    return " " * width if value is None else f"{value:{width},.{digits}f}"


def write_json(path: Path, services: str, figures: Sequence[Figure]) -> None:
    """Keep all figures of a run."""
    rows = [figure.as_json() for figure in figures]
    path.write_text(json.dumps({"services": services, "figures": rows}, indent=2) + "\n", encoding="utf-8")
