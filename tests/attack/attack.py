"""What an attack is, and what became of it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.attack.target import Target

_WHOLE: Final = 1_000
BEFORE: Final = Path(__file__).with_name("before.json")


class BrokenError(Exception):
    """Something failed beside the figure that the bound is for; the text says what."""


class Attack(NamedTuple):
    """An attack with its bound.

    Attributes:
        item: the number in the issue, or `held` for one that never succeeded.
        name: what is done, unique.
        most: the bound: the largest figure that is well.
        unit: of the figure.
        run: does it and returns the figure.
        short: whether it belongs to the shortened form.
        seconds: after which it counts as broken.
    """

    item: str
    name: str
    most: float
    unit: str
    run: Callable[[Target], Awaitable[float]]
    short: bool = True
    seconds: float = 120.0


class Before(NamedTuple):
    """The figure of a version that had no bound, and where it is from."""

    figure: float
    source: str


class Outcome(NamedTuple):
    """What came of an attack: the figure, or why there is none."""

    attack: Attack
    figure: float | None
    trouble: str = ""

    @property
    def held(self) -> bool:
        """Whether the bound was kept."""
        return self.figure is not None and not self.trouble and self.figure <= self.attack.most

    def line(self, before: Before | None) -> str:
        """Return the one line that a reader sees."""
        attack = self.attack
        now = "none" if self.figure is None else _shown(self.figure)
        was = "not recorded" if before is None else f"{_shown(before.figure)} ({before.source})"
        return (
            f"{'held' if self.held else 'BROKEN':6} {attack.item:>4}  {attack.name}: at most {_shown(attack.most)} "
            f"{attack.unit}; before {was}; now {now}{f'; {self.trouble}' if self.trouble else ''}"
        )


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= _WHOLE else f"{figure:.3g}"


def read_before() -> dict[str, Before]:
    """Return the recorded figures by the names of the attacks."""
    return {name: Before(**entry) for name, entry in json.loads(BEFORE.read_text()).items()}


def record_before(outcomes: list[Outcome], source: str) -> None:
    """Write the figures of this run down as those before, for attacks that have none yet."""
    entries = {name: entry._asdict() for name, entry in read_before().items()}
    for outcome in outcomes:
        if outcome.figure is not None:
            entries.setdefault(outcome.attack.name, Before(round(outcome.figure, 1), source)._asdict())
    BEFORE.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")
