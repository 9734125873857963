"""The four depths of sleep and the states that a circuit breaker reports."""

from enum import IntEnum
from typing import Final, Literal

StateName = Literal["active", "light", "deep", "freeze"]
BreakerState = Literal["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"]


class SleepState(IntEnum):
    """How deep a tenant sleeps; a deeper state compares greater."""

    active = 0
    light = 1
    deep = 2
    freeze = 3

    @property
    def label(self) -> StateName:
        """The state's name in JSON."""
        return LABELS[self]


LABELS: Final[tuple[StateName, ...]] = ("active", "light", "deep", "freeze")
BY_LABEL: Final[dict[str, SleepState]] = {label: SleepState(depth) for depth, label in enumerate(LABELS)}
