"""The four depths of sleep and the states that a circuit breaker reports."""

from enum import IntEnum
from typing import Final, Literal, get_args

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
BY_DEPTH: Final = {int(state): state for state in SleepState}

_SEPARATORS: Final = "-_ "
_UNSEPARATED: Final = str.maketrans("", "", _SEPARATORS)
_BREAKER_STATES: Final[dict[str, BreakerState]] = {
    state.translate(_UNSEPARATED): state for state in get_args(BreakerState)
}
_SPELLED: Final = frozenset(get_args(BreakerState))


def breaker_state(spelling: object) -> object:
    """Return a breaker's state in canonical spelling; another value is returned unchanged.

    Libraries write `HALF_OPEN`, `half-open`, `halfOpen` and `Half Open`. So case, hyphens, underscores and spaces are
    ignored.
    """
    if type(spelling) is not str or spelling in _SPELLED:
        return spelling
    return _BREAKER_STATES.get(spelling.translate(_UNSEPARATED).lower(), spelling)


def _any_spelling(state: str) -> str:
    compact = state.translate(_UNSEPARATED)
    gap = f"[{_SEPARATORS[::-1]}]*"
    return gap + gap.join(f"[{character.upper()}{character}]" for character in compact) + gap


BREAKER_STATE_PATTERN: Final = f"^({'|'.join(_any_spelling(state) for state in get_args(BreakerState))})$"
"""The spellings that `breaker_state` accepts, as a regular expression without a flag for case, for all dialects."""
