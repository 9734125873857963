"""How a person names the range of a replay, and a range that retention has cut."""

import pytest

from tests.support.times import T
from worker.recovery.errors import RecoveryError
from worker.recovery.what_if.bounds import InvalidBoundError, LogStart, Place, iso, partition_named, require_kept


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("3:1042", Place(position=(3, 1042))),
        ("2026-11-22T08:07:17.992Z", Place(at=T)),
        ("2026-11-22T09:07:17.992+01:00", Place(at=T)),
        (str(T), Place(at=T)),
    ],
)
def test_a_bound_is_a_position_or_a_time(text: str, place: Place) -> None:
    """A time has a time zone, or is in ms since the epoch, as in our JSON."""
    assert Place.parse(text) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "neither a position P:O"),
        ("3:", "neither a position P:O"),
        ("-1:2", "neither a position P:O"),
        ("9" * 30, "neither a position P:O"),
        ("2026-11-22T08:07:17", "has no time zone"),
    ],
)
def test_another_text_is_refused_with_what_is_expected(text: str, why: str) -> None:
    """It is named."""
    with pytest.raises(InvalidBoundError, match=why) as refused:
        Place.parse(text)
    assert repr(text) in str(refused.value)


def test_a_time_is_printed_as_it_may_be_given() -> None:
    """So an error may name a bound for the next command."""
    assert Place.parse(iso(T)) == Place(at=T)


def test_a_position_names_the_only_partition() -> None:
    """Two positions name the same."""
    assert partition_named((Place(at=T), None)) is None
    assert partition_named((Place(position=(3, 1)), Place(at=T))) == 3
    assert partition_named((Place(position=(3, 1)), Place(position=(3, 5)))) == 3
    with pytest.raises(InvalidBoundError, match="on partitions 3 and 4"):
        partition_named((Place(position=(3, 1)), Place(position=(4, 5))))


def test_a_log_that_still_has_its_beginning_is_not_cut() -> None:
    """Nothing happened before its first record."""
    require_kept(Place(at=T - 1), {0: LogStart(0, T), 1: LogStart(0, None)})
    require_kept(Place(), {0: LogStart(9, T)})


def test_a_time_before_what_retention_has_left_names_the_first_possible_time() -> None:
    """That of the partition that was cut last, so that it suits all."""
    starts = {0: LogStart(7, T), 1: LogStart(9, T + 5), 2: LogStart(0, T + 9)}
    with pytest.raises(RecoveryError) as refused:
        require_kept(Place(at=T - 1), starts)
    assert str(refused.value) == (
        "retention has cut the range: the log of partition 1 begins at 1:9, 2026-11-22T08:07:17.997Z (2 partitions "
        "begin after --from). Replay from there or later: `--from 2026-11-22T08:07:17.997Z`"
    )
    require_kept(Place(at=T + 5), starts)


def test_a_position_before_what_retention_has_left_names_the_first_possible_one() -> None:
    """A log that is all gone has no time to name."""
    with pytest.raises(RecoveryError, match=r"begins at 1:9, 2026-.*`--from 1:9`"):
        require_kept(Place(position=(1, 8)), {1: LogStart(9, T)})
    with pytest.raises(RecoveryError, match=r"begins at 1:9\. Replay from there"):
        require_kept(Place(position=(1, 8)), {1: LogStart(9, None)})
    require_kept(Place(position=(1, 9)), {1: LogStart(9, T)})
