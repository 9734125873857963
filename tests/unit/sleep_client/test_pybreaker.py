"""The listener for pybreaker, with real breakers."""

from typing import Any

import pybreaker
import pytest

from sleep_client.pybreaker import SleepListener


class Reports:
    """In place of an emitter."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []

    def report(self, *fields: object) -> None:
        """Note a report."""
        self.all.append(fields)


def fail() -> None:
    """Fail as a call does."""
    raise ConnectionError("https://user:password@shop.example")


@pytest.fixture
def reports() -> Reports:
    """What was reported."""
    return Reports()


def breaker_of(reports: Reports, **options: Any) -> pybreaker.CircuitBreaker:  # noqa: ANN401 - the listener's
    """Return a breaker that opens with the second failure and may be tried again at once."""
    listener = SleepListener(reports, **{"tenant": "acme", **options})  # type: ignore[arg-type] # in place of an emitter
    return pybreaker.CircuitBreaker(fail_max=2, reset_timeout=0, name="payments", listeners=[listener])


def test_a_breaker_that_trips_and_recovers_is_reported(reports: Reports) -> None:
    """Each change, with the type of the failure and without its text."""
    breaker = breaker_of(reports)
    for error in (ConnectionError, pybreaker.CircuitBreakerError):
        with pytest.raises(error):
            breaker.call(fail)
    breaker.call(lambda: None)
    assert reports.all == [
        ("acme", "payments", "open", None, "last failure: ConnectionError"),
        ("acme", "payments", "half-open", None, None),
        ("acme", "payments", "closed", None, None),
    ]


def test_one_listener_serves_the_breakers_of_many_tenants(reports: Reports) -> None:
    """A function finds the tenant; processes may share a breaker."""
    breaker = breaker_of(reports, tenant=lambda cb: f"of-{cb.name}", instance="")
    breaker.open()
    assert reports.all == [("of-payments", "payments", "open", "", None)]


def test_a_function_that_raises_does_not_reach_the_caller(reports: Reports) -> None:
    """The emitter counts the report as invalid, and logs the reason."""
    breaker_of(reports, tenant={}.__getitem__).open()
    assert reports.all[0][0] == "(the function of the tenant raised KeyError)"
