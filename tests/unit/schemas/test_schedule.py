"""Parameter schedules, the classic linear form, and ramps."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace
from pydantic import ValidationError

from schemas.domain.schedule import (
    BUILT_IN_SCHEDULE,
    PARAMETERS,
    ParameterSet,
    Ramp,
    ScheduleDocument,
    linear,
    schedule_as_json,
)
from tests.support.claims import QUICK
from tests.support.invariants import assert_monotone
from tests.support.times import NOW

TABLE: dict[str, dict[str, Any]] = {
    "active": {"K": 100, "t": 1.0, "tau": 0.1, "eta": 0.01, "lambda": 0.5, "B": 1.0},
    "light": {"K": 60, "t": 0.75, "tau": 0.075, "eta": 0.005, "lambda": 0.4, "B": 1.25},
    "deep": {"K": 20, "t": 0.5, "tau": 0.05, "eta": 0, "lambda": 0.25, "B": 1.5},
    "freeze": {"K": 1, "t": 0.1, "tau": 1e-6, "eta": 0, "lambda": 0, "B": 2.0},
}


def changed(state: str, parameter: str, value: object) -> dict[str, dict[str, Any]]:
    """Return the table with another value in one place."""
    return {**TABLE, state: {**TABLE[state], parameter: value}}


def test_the_built_in_schedule_is_exactly_the_table() -> None:
    """To the last digit: 0.075 and not its neighbour."""
    assert schedule_as_json(BUILT_IN_SCHEDULE) == TABLE


def test_k_is_an_integer_in_a_schedule() -> None:
    """It is printed without a fraction."""
    assert all(type(values.K) is int for values in BUILT_IN_SCHEDULE)


def test_a_schedule_survives_its_document_form() -> None:
    """Reading what was written gives the same numbers."""
    assert ScheduleDocument.model_validate(schedule_as_json(BUILT_IN_SCHEDULE)).as_schedule() == BUILT_IN_SCHEDULE


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (changed("deep", "t", 0.9), "t is not monotone"),
        (changed("light", "B", 0.9), "B is not monotone"),
        (changed("freeze", "lambda", 0.3), "lambda is not monotone"),
        (changed("active", "K", 10), "K is not monotone"),
    ],
)
def test_a_parameter_that_turns_round_is_refused_by_name(document: dict[str, Any], reason: str) -> None:
    """Over active, light, deep, freeze each parameter moves one way only."""
    with pytest.raises(ValidationError, match=reason):
        ScheduleDocument.model_validate(document)


def test_constant_and_rising_parameters_are_monotone() -> None:
    """The direction is each parameter's own."""
    rising = {state: {**TABLE[state], "K": k} for state, k in zip(TABLE, (1, 5, 5, 1_000_000), strict=True)}
    assert ScheduleDocument.model_validate(rising).as_schedule()[3].K == 1_000_000
    ScheduleDocument.model_validate(dict.fromkeys(TABLE, TABLE["active"]))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("K", 0), ("K", 1.5), ("K", True), ("K", "1"), ("K", None),
        ("t", 0), ("t", -1), ("tau", 0), ("B", 1_000_001), ("eta", -1e-9), ("lambda", math.inf),
        ("lambda", math.nan),
    ],
)  # fmt: skip
def test_a_value_outside_of_its_hard_bounds_is_refused(parameter: str, value: object) -> None:
    """The finding names the place of the value."""
    with pytest.raises(ValidationError) as refused:
        ScheduleDocument.model_validate(changed("freeze", parameter, value))
    assert refused.value.errors()[0]["loc"] == ("freeze", parameter)


@pytest.mark.parametrize("state", TABLE)
def test_a_schedule_without_one_state_is_refused(state: str) -> None:
    """A schedule is complete."""
    with pytest.raises(ValidationError):
        ScheduleDocument.model_validate({name: values for name, values in TABLE.items() if name != state})


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_set_without_one_parameter_is_refused(parameter: str) -> None:
    """A parameter set is complete."""
    partial = {name: value for name, value in TABLE["deep"].items() if name != parameter}
    with pytest.raises(ValidationError):
        ScheduleDocument.model_validate({**TABLE, "deep": partial})


def test_linear_bounds_each_value_by_floor_and_ceiling() -> None:
    """A missing coefficient is 0, and what is not bounded follows the line, down to nothing."""
    base = {"K": 10, "t": 2.0, "tau": 1.0, "eta": 0.5, "lambda": 1.0, "B": 1.0}
    schedule: Any = linear(base, {"K": 0.25, "t": 0.1, "B": 1.0}, {"K": 3}, {"B": 5.0})
    assert [schedule[state]["K"] for state in TABLE] == [10, 9, 8, 3]  # 8.75 and 7.5, rounded half up
    assert [schedule[state]["t"] for state in TABLE] == [2.0, 1.9, 1.8, 0.0]
    assert [schedule[state]["tau"] for state in TABLE] == [1.0] * 4
    assert [schedule[state]["eta"] for state in TABLE] == [0.5, 0.5, 0, 0]
    assert [schedule[state]["lambda"] for state in TABLE] == [1.0, 0.8, 0.5, 0]
    assert [schedule[state]["B"] for state in TABLE] == [1.0, 1.5, 2.0, 5.0]


AWAKE, ASLEEP = BUILT_IN_SCHEDULE[0], BUILT_IN_SCHEDULE[3]


def test_a_ramp_is_halfway_at_half_time() -> None:
    """A straight line in time."""
    half = Ramp(AWAKE, ASLEEP, NOW, NOW + 1000).at(NOW + 500)
    assert astuple(half) == pytest.approx((50.5, 0.55, 0.0500005, 0.005, 0.25, 1.5))


@pytest.mark.parametrize("early", [0, 1, 1000])
def test_before_its_start_a_ramp_stands_at_its_first_values(early: int) -> None:
    """A reader whose clock is behind sees no value beyond the ends."""
    assert Ramp(AWAKE, ASLEEP, NOW, NOW + 1000).at(NOW - early) == AWAKE


def test_a_ramp_of_no_length_can_be_read_before_it() -> None:
    """Deepening takes no time by default, and a reader's clock may be behind the log's."""
    ramp = Ramp(AWAKE, ASLEEP, NOW, NOW)
    read = [ramp.at(now) for now in (NOW - 1, NOW, NOW + 1)]
    assert read == [AWAKE, ASLEEP, ASLEEP]


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 2), (0.499, 1), (0.0, 1), (1.0, 2)])
def test_k_is_rounded_half_up_when_read(fraction: float, expected: int) -> None:
    """1.5 reads as 2, and inside the ramp K keeps its fraction."""
    ramp = Ramp(replace(AWAKE, K=1), replace(AWAKE, K=2), NOW, NOW + 1000)
    read = ramp.read(NOW + int(1000 * fraction))
    assert read["K"] == expected
    assert type(read["K"]) is int


sets = st.builds(
    ParameterSet,
    K=st.integers(1, 1_000_000),
    **dict.fromkeys(("t", "tau", "B"), st.floats(1e-300, 1e6)),
    **dict.fromkeys(("eta", "lambda_"), st.floats(0, 1e6)),
)
ramps = st.builds(
    lambda start, target, length: Ramp(start, target, NOW, NOW + length),
    sets,
    sets,
    st.integers(1, 2_592_000_000),
)


@QUICK
@given(ramps)
def test_a_ramp_moves_each_parameter_one_way_between_its_ends(ramp: Ramp) -> None:
    """Monotone and bounded, whatever the numbers, and exactly the target at its end."""
    assert_monotone(ramp)


@QUICK
@given(ramps, st.floats(0, 1), sets)
def test_a_ramp_that_cuts_another_short_goes_on_from_the_values_reached(
    ramp: Ramp, share: float, target: ParameterSet
) -> None:
    """Continuous: at the cut both ramps give the same values."""
    cut = NOW + round(share * (ramp.ends_at - NOW))
    assert Ramp(ramp.at(cut), target, cut, cut + 1000).at(cut) == ramp.at(cut)


@QUICK
@given(sets, sets, st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_round_trip_returns_to_the_very_same_numbers(
    awake: ParameterSet, asleep: ParameterSet, down: int, up: int
) -> None:
    """However short each ramp was cut, the last one ends exactly at its target."""
    fell = Ramp(awake, asleep, NOW, NOW + down)
    woke = Ramp(fell.at(NOW + down // 2), awake, NOW + down, NOW + down + up)
    assert woke.at(woke.ends_at) == awake


def test_a_ramp_at_its_start_has_the_numbers_of_its_start_as_they_were() -> None:
    """100 stays 100 and does not become 100.0: what is published is the same before and after a restart."""
    assert type(Ramp(AWAKE, ASLEEP, NOW, NOW + 1000).at(NOW).K) is int


def test_a_ramp_s_document_names_both_ends_and_both_times() -> None:
    """What a reader needs to know the present."""
    assert msgspec.to_builtins(Ramp(AWAKE, ASLEEP, NOW, NOW + 5)) == {
        "from": TABLE["active"],
        "to": TABLE["freeze"],
        "starts_at": NOW,
        "ends_at": NOW + 5,
    }
