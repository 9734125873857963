"""opossum: what `JSON.stringify(breaker)` returns."""

from typing import Any, Final

import pytest

from tests.support.emitted import emitted, event_of, states_of, wrong_field

FORMAT: Final = "opossum"


def _with(**more: object) -> Any:  # noqa: ANN401 - JSON
    document = emitted(FORMAT)[0].document
    return document | {"state": document["state"] | more}


def test_a_breaker_says_its_state_and_a_disabled_one_that_it_is() -> None:
    """A disabled one still says that it is closed, or open. One that was shut down is nothing of all."""
    assert states_of(FORMAT) == ["closed", "open", "half_open", "closed", "disabled", "disabled", "disabled"]


def test_a_report_has_a_name_and_no_time() -> None:
    """`lastTimerAt` is the time at which the breaker was created, in all of its reports."""
    event = event_of(FORMAT, emitted(FORMAT)[1].value)
    assert (event.data.breaker, event.data.instance, event.data.occurred_at) == ("payments", "pod-1", None)
    assert len({each.document["state"]["lastTimerAt"] for each in emitted(FORMAT)}) == 1


@pytest.mark.parametrize(
    "flags",
    [
        {"open": True},
        {"closed": False},
        {"closed": True, "open": True, "halfOpen": True},
        {"shutdown": True},
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: dict[str, bool]) -> None:
    """Closed and open at once, or nothing of all."""
    assert wrong_field(FORMAT, _with(**flags)) == "state"


@pytest.mark.parametrize("name", ["closed", "open", "halfOpen", "enabled", "shutdown"])
@pytest.mark.parametrize("value", [1, "true", None])
def test_a_flag_is_true_or_false(name: str, value: object) -> None:
    """Neither a number nor a text."""
    assert wrong_field(FORMAT, _with(**{name: value})) == f"state.{name}"


def test_a_name_that_is_no_text_and_a_document_of_statistics_are_refused() -> None:
    """`breaker.stats` has no state."""
    assert wrong_field(FORMAT, _with(name=7)) == "state.name"
    assert wrong_field(FORMAT, emitted(FORMAT)[0].document["status"]) == "state"
    assert wrong_field(FORMAT, []) == "(document)"
