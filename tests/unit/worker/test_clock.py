"""The clock, and the wait before another try."""

import random
import time

import pytest

from schemas.backoff import Backoff
from worker.clock import WallClock


class Highest(random.Random):
    """Draws the upper end, so that what is waited at most can be told."""

    def uniform(self, a: float, b: float) -> float:
        del a
        return b


def test_the_clock_tells_milliseconds_since_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole ones, rounded down."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_334_837_992_999_999)
    assert WallClock().now() == 1_795_334_837_992


async def test_the_clock_lets_others_run() -> None:
    """For no time at all, here."""
    await WallClock().sleep(0)


def test_tries_wait_twice_as_long_each_time_up_to_five_seconds() -> None:
    """For ever, and never longer."""
    backoff = Backoff(Highest())
    waited = [backoff.next() for _ in range(2_000)]
    assert waited[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert set(waited[8:]) == {5.0}


def test_each_wait_is_jittered_down_to_a_half() -> None:
    """So that those who fail together do not come back together."""
    backoff = Backoff(random.Random(1))
    waited = [backoff.next() for _ in range(200)][6:]
    assert 2.5 <= min(waited) < 2.6
    assert 4.9 < max(waited) <= 5.0


def test_a_success_starts_afresh() -> None:
    """And ends the failing."""
    backoff = Backoff(Highest())
    seen = [backoff.failing]
    backoff.next()
    backoff.next()
    seen.append(backoff.failing)
    backoff.reset()
    assert [*seen, backoff.failing] == [False, True, False]
    assert backoff.next() == 0.1
