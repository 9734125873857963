"""Hystrix: samples of the metrics stream."""

import json
from typing import Any, Final

import pytest

from tests.support.emitted import emitted, event_of, read_as, states_of, wrong_field

FORMAT: Final = "hystrix"
SAMPLE: Final = emitted(FORMAT)[2].document


def test_a_sample_of_a_command_is_a_level_and_of_a_pool_nothing() -> None:
    """The breaker opens, and closes after a try."""
    assert states_of(FORMAT) == ["closed", None, "open", None, "closed", None]
    assert read_as(FORMAT, SAMPLE | {"type": "HystrixCollapser"}).skipped == {"no_transition": 1}


def test_a_sample_has_its_time_and_its_rate_of_failures() -> None:
    """Of the process that took it."""
    data = event_of(FORMAT, SAMPLE).data
    assert (data.breaker, data.instance, data.occurred_at) == ("payments", "pod-1", SAMPLE["currentTime"])
    assert data.cause == "66% of 3 calls failed"


def test_the_lines_of_the_stream_are_read_as_they_come() -> None:
    """A `data:` line, and the `ping:` that keeps the connection open."""
    assert event_of(FORMAT, b"data: " + json.dumps(SAMPLE).encode() + b"\n\n").data.state == "open"
    assert read_as(FORMAT, b"ping: \n\n").skipped == {"no_transition": 1}


def test_a_breaker_that_is_forced_open_is_open() -> None:
    """A claim of `forced_open` would have no lease, so a process that is gone would never let go."""
    assert event_of(FORMAT, SAMPLE | {"propertyValue_circuitBreakerForceOpen": True}).data.state == "open"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"isCircuitBreakerOpen": {"true": 1, "false": 2}}, "isCircuitBreakerOpen"),
        ({"isCircuitBreakerOpen": "true"}, "isCircuitBreakerOpen"),
        ({"isCircuitBreakerOpen": 1}, "isCircuitBreakerOpen"),
        ({"type": "Command"}, "type"),
        ({"name": None}, "name"),
        ({"currentTime": "1796020542045"}, "currentTime"),
        ({"currentTime": -1}, "currentTime"),
        ({"errorPercentage": None}, "errorPercentage"),
    ],
)
def test_another_shape_is_refused_by_its_field(more: dict[str, Any], field: str) -> None:
    """Turbine's sums of many processes too."""
    assert wrong_field(FORMAT, SAMPLE | more) == field
