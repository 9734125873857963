"""What a JSON number, string, id or time may be."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.domain.values import (
    BreakerName,
    Identifier,
    InstanceName,
    Integer,
    Number,
    Pattern,
    Seconds,
    TenantId,
    Text,
    Time,
    milliseconds,
    seconds,
    time_ms,
)
from tests.support.claims import QUICK

INTEGER: TypeAdapter[Any] = TypeAdapter(Integer)
NUMBER: TypeAdapter[Any] = TypeAdapter(Number)
SECONDS: TypeAdapter[Any] = TypeAdapter(Seconds)
TIME: TypeAdapter[Any] = TypeAdapter(Time)


@pytest.mark.parametrize(("sent", "read"), [(1, 1), (1.0, 1), (-3.0, -3), (0, 0), (1e15, 10**15)])
def test_a_number_without_a_fraction_is_an_integer(sent: float, read: int) -> None:
    """`1.0` is 1, and what is kept is an int."""
    value = INTEGER.validate_python(sent)
    assert value == read
    assert type(value) is int


@pytest.mark.parametrize("sent", [True, False, 1.5, "1", None, math.inf, math.nan, [], 10**400, -(10**400)])
def test_what_is_no_integer_is_refused(sent: object) -> None:
    """A boolean is never a number, nor is text, and a number must fit a double."""
    with pytest.raises(ValidationError):
        INTEGER.validate_python(sent)


def test_an_integer_that_only_rounds_past_the_largest_double_is_refused() -> None:
    """2 to the 1024th less one fits no double either: the nearest one would be infinite."""
    with pytest.raises(ValidationError):
        INTEGER.validate_python(2**1024 - 1)


@pytest.mark.parametrize(("sent", "read"), [(1, 1.0), (0.5, 0.5), (-2, -2.0), (1e308, 1e308)])
def test_a_finite_number_is_read_as_a_float(sent: float, read: float) -> None:
    """An integer in JSON is a number like any other."""
    value = NUMBER.validate_python(sent)
    assert value == read
    assert type(value) is float


@pytest.mark.parametrize("sent", [True, "1", None, math.inf, -math.inf, math.nan, 10**400, {}])
def test_what_is_no_finite_number_is_refused(sent: object) -> None:
    """A boolean is never a number; infinity, NaN and what fits no double are none either."""
    with pytest.raises(ValidationError):
        NUMBER.validate_python(sent)


@pytest.mark.parametrize("sent", [0, 0.001, 12.345, 2_592_000, 2_591_999.999, 1.0, -0.0])
def test_a_duration_may_have_three_decimals(sent: float) -> None:
    """From nothing to 30 days."""
    assert SECONDS.validate_python(sent) == sent


@pytest.mark.parametrize("sent", [0.0001, 1.2345, 1e-9, -0.001, 2_592_000.001, 1e300, math.nan, True, "1", None])
def test_a_duration_with_more_decimals_or_outside_of_30_days_is_refused(sent: object) -> None:
    """More than three decimals are an error and not rounded away."""
    with pytest.raises(ValidationError):
        SECONDS.validate_python(sent)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(0, 0), (0.001, 1), (0.015, 15), (1.001, 1001), (4.35, 4350), (2_592_000, 2_592_000_000)],
)
def test_seconds_become_the_nearest_millisecond(duration: float, expected: int) -> None:
    """4.35 is below 4.35 as a double, and is 4350 ms all the same."""
    assert milliseconds(duration) == expected


def test_more_than_three_decimals_are_no_milliseconds() -> None:
    """The error says what is wrong."""
    with pytest.raises(ValueError, match="more than 3 decimals"):
        milliseconds(0.0005)


@QUICK
@given(st.integers(0, 2_592_000_000))
def test_every_duration_in_milliseconds_survives_as_seconds(duration_ms: int) -> None:
    """The seconds written for a duration read back as the same milliseconds, and are valid."""
    assert milliseconds(SECONDS.validate_python(seconds(duration_ms))) == duration_ms


def test_whole_seconds_are_written_without_a_fraction() -> None:
    """900 and not 900.0, while 1500 ms are 1.5."""
    assert repr(seconds(900_000)) == "900"
    assert repr(seconds(1500)) == "1.5"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01T00:00:00.0019Z", 1),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1970-01-01t01:00:00+01:00", 0),
        ("1969-12-31T23:30:00-00:30", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("2024-02-29T00:00:00z", 1_709_164_800_000),
        ("2016-12-31T23:59:60Z", 1_483_228_799_000),
        ("2016-12-31T23:59:60.250Z", 1_483_228_799_250),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("1970-01-01T00:00:00.1239999999999999+00:00", 123),
    ],
)
def test_a_time_is_read_in_milliseconds_rounded_down(written: str, expected: int) -> None:
    """Offsets, lower case, nanoseconds and leap seconds are all RFC 3339."""
    assert time_ms(TIME.validate_python(written)) == expected


def test_a_time_goes_on_with_at_most_nine_decimals() -> None:
    """Workers of an earlier version read no more, and may stand beside this one."""
    assert TIME.validate_python("2026-01-01T00:00:00.1234567891Z") == "2026-01-01T00:00:00.123456789Z"
    assert TIME.validate_python("2026-01-01t00:00:00.1-05:00") == "2026-01-01t00:00:00.1-05:00"


@pytest.mark.parametrize(
    "written",
    [
        "2026-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00Z\n",
        "0000-01-01T00:00:00Z",
        "\u0662026-01-01T00:00:00Z",
        "yesterday",
        "",
        1_795_334_837_992,
    ],
)
def test_what_is_no_time_is_refused(written: object) -> None:
    """There is no February 30, no hour 24, and no time without an offset."""
    with pytest.raises(ValidationError):
        TIME.validate_python(written)


TEXTS: list[tuple[Any, str, list[str], list[str]]] = [
    (
        TenantId,
        "tenant",
        ["a", "A-Z.a_z:0@9", "x" * 128],
        ["", "x" * 129, "a b", "a/b", "*", "\u00e9", "a\n"],
    ),
    (Identifier, "identifier", ["a", "a b~", "x" * 128], ["", "x" * 129, "\u00e9", "a\n", "\x7f"]),
    (Text, "text", ["", "\u00e9\U0001f634", "x" * 256], ["x" * 257, "a\x00", "a\n", "\x7f", "\x9f"]),
    (BreakerName, "breaker", ["a", "a b", "\u00e9" * 200], ["", "x" * 201, "a@b", "a\tb", "a\n"]),
    (InstanceName, "instance", ["", "a@b", "x" * 200], ["x" * 201, "a\x85"]),
    (Pattern, "pattern", ["*", "a?b@[c]", "x" * 200], ["", "x" * 201, "\x1b"]),
]


@pytest.mark.parametrize(("kind", "sent"), [(kind, one) for kind, _, good, _ in TEXTS for one in good])
def test_text_within_its_limits_is_taken_as_it_is(kind: type[str], sent: str) -> None:
    """Lengths count characters, not bytes."""
    assert TypeAdapter(kind).validate_python(sent) == sent


@pytest.mark.parametrize(
    ("kind", "sent"), [(kind, one) for kind, _, _, bad in TEXTS for one in (*bad, 1, True, b"a", ["a"])]
)
def test_text_beyond_its_limits_or_of_another_type_is_refused(kind: type[str], sent: object) -> None:
    """Control characters are refused everywhere, also a line break at the end."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(sent)


def test_null_stands_for_an_absent_instance() -> None:
    """Null for an optional field means absent."""
    assert TypeAdapter(InstanceName).validate_python(None) == ""
