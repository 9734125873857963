"""Repeats of levels are removed, in bounded memory, and renewals of a lease are not."""

import pytest

from schemas.domain.state import BreakerState
from tests.support.times import T
from worker.ingress import repeats
from worker.ingress.repeats import AWAKE_RENEWAL_MS, MOST, RENEWAL_MS, Repeats
from worker.ingress.tenant_limit import Normalised
from worker.ports import Output


def level(state: BreakerState = "open", at: int | None = T, instance: str = "pod-1") -> Normalised:
    """Return a level of a breaker of `acme`."""
    return Normalised("acme", ("payments", instance), at, Output(b"acme", b"{}"), state)


def passes(repeats_: Repeats, event: Normalised, now: int = 0, timestamp: int = T) -> bool:
    """Tell whether an event passes."""
    return repeats_.without([event], timestamp, now) == [event]


@pytest.mark.parametrize(("state", "interval"), [("open", RENEWAL_MS), ("closed", AWAKE_RENEWAL_MS)])
def test_a_repeat_passes_once_in_a_while(state: BreakerState, interval: int) -> None:
    """What means sleep sooner, since a lease hangs on it."""
    seen = Repeats()
    times = range(0, 2 * interval + 500, 500)
    passed = [now for now in times if passes(seen, level(state, T + now), now, T + now)]
    assert passed == [0, interval, 2 * interval]


def test_a_change_passes_at_once() -> None:
    """In both directions, and of each instance."""
    seen = Repeats()
    states: tuple[BreakerState, ...] = ("open", "closed", "open", "open")
    assert [passes(seen, level(state, T + at)) for at, state in enumerate(states)] == [True, True, True, False]
    assert passes(seen, level("open", T, "pod-2"))


def test_an_older_level_neither_passes_nor_hides_a_true_one() -> None:
    """The fold would refuse it as stale. Another level after it is a change of the newest, not of the older."""
    seen = Repeats()
    assert passes(seen, level("open", T + 10))
    assert not passes(seen, level("closed", T + 9))
    assert passes(seen, level("closed", T + 11))


def test_levels_from_a_clock_ahead_hide_no_true_ones() -> None:
    """The fold refuses what is more than 60 s ahead, so each passes and none is remembered."""
    seen = Repeats()
    ahead = level("open", T + 60_001)
    assert passes(seen, ahead)
    assert passes(seen, ahead)
    assert passes(seen, level("open", T))


def test_without_times_the_order_of_the_log_counts() -> None:
    """A record without a timestamp has a negative one."""
    seen = Repeats()
    assert passes(seen, level("open", None), timestamp=-1)
    assert not passes(seen, level("open", None), timestamp=-1)
    assert passes(seen, level("closed", None), timestamp=-1)
    assert not passes(seen, level("closed", T), timestamp=-1)


def test_memory_is_bounded_and_the_longest_silent_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next level passes once more, as a renewal."""
    assert MOST <= 1 << 14
    monkeypatch.setattr(repeats, "MOST", 2)
    seen = Repeats()
    assert [passes(seen, level(instance=name)) for name in "abacab"] == [True, True, False, True, False, True]
