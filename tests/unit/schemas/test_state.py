"""The four states and their names."""

from itertools import pairwise
from typing import get_args

from schemas.domain.state import BY_LABEL, LABELS, SleepState, StateName


def test_a_deeper_state_compares_greater() -> None:
    """From active over light and deep to freeze."""
    order = [SleepState.active, SleepState.light, SleepState.deep, SleepState.freeze]
    assert all(shallow < deep for shallow, deep in pairwise(order))
    assert order == sorted(SleepState)


def test_every_state_has_one_name_and_is_found_by_it() -> None:
    """Names in JSON and states are two sides of one table."""
    assert get_args(StateName) == LABELS == ("active", "light", "deep", "freeze")
    assert [BY_LABEL[state.label] for state in SleepState] == list(SleepState)
