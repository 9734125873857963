"""The time of the server, from dates of whole seconds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep_client.emission.server_time import STALE_SECONDS, ServerTime

OFFSET = 1_795_334_400.25
"""The server's clock at 0 of the local one."""


def test_nothing_is_known_before_an_answer() -> None:
    """Events then have no time."""
    assert ServerTime().at(5.0) is None


def test_a_time_before_1970_is_not_used() -> None:
    """The server refuses it."""
    time = ServerTime()
    time.learn(10.0, 100.0, 100.0)
    assert (time.at(89.0), time.at(90.0)) == (None, 0)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 10_000, allow_nan=False),
            st.floats(0, 3, allow_nan=False),
            st.floats(0, STALE_SECONDS - 1, allow_nan=False),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_a_stamp_is_never_ahead_and_at_most_two_seconds_behind(exchanges: list[tuple[float, float, float]]) -> None:
    """Whenever the date was cut and renewed; the time for which an answer was on its way comes on top."""
    time = ServerTime()
    shortest = math.inf
    for sent, takes, renewed_before in exchanges:
        date = math.floor(OFFSET + sent + takes / 2 - renewed_before)
        time.learn(date, sent, sent + takes)
        shortest = min(shortest, takes)
        stamp = time.at(20_000.0)
        assert stamp is not None
        error = stamp / 1000 - (OFFSET + 20_000.0)
        assert -STALE_SECONDS - shortest - 0.002 <= error <= 0.0


def test_several_answers_narrow_the_time() -> None:
    """A date that was just renewed says the most."""
    time = ServerTime()
    time.learn(100, 0.9, 0.9)
    early = time.at(10.0)
    time.learn(101, 1.0, 1.0)
    assert (early, time.at(10.0)) == (109_100, 110_000)


@pytest.mark.parametrize("offset", [-3600, 3600])
def test_a_server_whose_clock_was_set_is_followed(offset: int) -> None:
    """The newest answer counts."""
    time = ServerTime()
    time.learn(5000, 0.0, 0.0)
    time.learn(5000 + offset, 1.0, 1.0)
    assert time.at(1.0) == (5000 + offset) * 1000
