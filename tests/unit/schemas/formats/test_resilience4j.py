"""resilience4j: events of Spring Boot Actuator."""

from typing import Any, Final

import pytest

from schemas.domain.values import time_ms
from tests.support.emitted import emitted, event_of, read_as, wrong_field

FORMAT: Final = "resilience4j"
EVENT: Final[dict[str, Any]] = {
    "circuitBreakerName": "payments",
    "type": "STATE_TRANSITION",
    "creationTime": "2026-11-30T07:35:32.832234848+01:00[Europe/Berlin]",
    "errorMessage": None,
    "durationInMs": None,
    "stateTransition": "CLOSED_TO_OPEN",
}


def test_every_transition_of_the_library_ends_in_its_second_state() -> None:
    """The library lists its transitions; each is in the fixture."""
    transitions = [each for each in emitted(FORMAT) if each.document.get("stateTransition")]
    assert len(transitions) > 30
    ends = set()
    for each in transitions:
        event = event_of(FORMAT, each.value)
        end = each.document["stateTransition"].partition("_TO_")[2]
        assert event.data.state == end.lower()
        assert (event.data.breaker, event.data.instance, event.data.library) == ("payments", "pod-1", FORMAT)
        ends.add(event.data.state)
    assert ends == {"closed", "open", "half_open", "forced_open", "disabled", "metrics_only"}


def test_calls_and_resets_are_no_transitions() -> None:
    """A reset has reported its transition before."""
    types = {each.document["type"] for each in emitted(FORMAT) if not read_as(FORMAT, each.value).events}
    assert types == {"ERROR", "NOT_PERMITTED", "SUCCESS", "RESET"}
    assert read_as(FORMAT, EVENT | {"type": "RESET"}).skipped == {"no_transition": 1}


def test_the_answer_of_the_endpoint_is_read_as_a_list() -> None:
    """All of its events, in order."""
    reading = read_as(FORMAT, emitted(FORMAT)[-1].value)
    assert [(event.data.breaker, event.data.state) for event in reading.events] == [
        ("payments", "open"),
        ("orders", "half_open"),
    ]
    assert [event.id for event in reading.events] == ["0:0", "0:1"]


def test_one_wrong_event_of_a_list_refuses_the_list() -> None:
    """Its place is named."""
    document = {"circuitBreakerEvents": [EVENT, EVENT | {"stateTransition": "OPEN_TO_BROKEN"}]}
    assert wrong_field(FORMAT, document) == "circuitBreakerEvents[1].stateTransition"


@pytest.mark.parametrize(
    ("time", "same"),
    [
        ("2026-11-30T07:35:32.832234848+01:00[Europe/Berlin]", "2026-11-30T06:35:32.832Z"),
        ("2026-11-30T06:35:32.832Z[Etc/UTC]", "2026-11-30T06:35:32.832Z"),
        ("2026-11-30T06:35:32Z", "2026-11-30T06:35:32Z"),
        ("2026-11-30T07:35+01:00[Europe/Berlin]", "2026-11-30T06:35:00Z"),
        ("2026-11-30T06:35Z", "2026-11-30T06:35:00Z"),
        # The clock went back: the offset tells the two hours apart, the zone does not.
        ("2026-10-25T02:30:00+02:00[Europe/Berlin]", "2026-10-25T00:30:00Z"),
        ("2026-10-25T02:30:00+01:00[Europe/Berlin]", "2026-10-25T01:30:00Z"),
    ],
)
def test_a_time_may_have_a_zone_in_brackets_and_no_seconds(time: str, same: str) -> None:
    """Java leaves out seconds that are 0."""
    assert event_of(FORMAT, EVENT | {"creationTime": time}).data.occurred_at == time_ms(same)


@pytest.mark.parametrize(
    "time",
    ["2026-11-30T07:35:32[Europe/Berlin]", "2026-02-30T07:35:32Z", "now", "", "1969-12-31T23:59:59Z", 1796020532, None],
)
def test_a_time_without_an_offset_is_refused(time: object) -> None:
    """As any other that leaves something to guess."""
    assert wrong_field(FORMAT, EVENT | {"creationTime": time}) == "creationTime"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"type": "STATE_CHANGE"}, "type"),
        ({"type": None}, "type"),
        ({"stateTransition": None}, "stateTransition"),
        ({"stateTransition": "OPEN"}, "stateTransition"),
        ({"stateTransition": "closed_to_open"}, "stateTransition"),
        ({"circuitBreakerName": ""}, "circuitBreakerName"),
        ({"circuitBreakerName": "a@b"}, "circuitBreakerName"),
        ({"circuitBreakerName": None}, "circuitBreakerName"),
        ({"circuitBreakerEvents": {}}, "circuitBreakerEvents"),
        ({"circuitBreakerEvents": [1]}, "circuitBreakerEvents[0]"),
    ],
)
def test_another_shape_is_refused_by_its_field(more: dict[str, Any], field: str) -> None:
    """Nothing is guessed."""
    assert wrong_field(FORMAT, EVENT | more) == field
