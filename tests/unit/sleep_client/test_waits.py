"""How long an emitter waits: bounded, and spread out."""

import pytest

from sleep_client.protocol import waits


@pytest.mark.parametrize(("failures", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0), (9, 16.0), (10_000, 16.0)])
def test_waits_after_failures_double_up_to_a_bound(failures: int, longest: float) -> None:
    """Half of a wait is random."""
    assert [waits.after_failure(failures, jitter) for jitter in (0.0, 1.0)] == [longest / 2, longest]


@pytest.mark.parametrize(("asked", "least"), [(0, 1.0), (7, 7.0), (10**9, 300.0)])
def test_the_wait_that_a_server_asks_for_is_kept_and_bounded(asked: int, least: float) -> None:
    """Callers that were told the same come back spread out."""
    assert [waits.after_retry_after(asked, jitter) for jitter in (0.0, 1.0)] == [least, least * 1.5]


def test_a_repeat_is_never_later_than_asked_for() -> None:
    """Leases depend on it."""
    assert [waits.repeat_period(300.0, jitter) for jitter in (0.0, 1.0)] == [300.0, 270.0]


def test_a_refusal_waits_for_a_minute_or_more() -> None:
    """Only a person can change it, and refusals share a budget."""
    assert [waits.after_refusal(jitter) for jitter in (0.0, 1.0)] == [60.0, 90.0]
