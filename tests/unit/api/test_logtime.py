"""`not_after` is in the log's time, whatever this machine's clock says."""

from api.commands.log_time import NOT_AFTER_MS, UNKNOWN_MS, LogTime
from tests.support.times import T

HOURS = 3_600_000


class _Times:
    """This machine's clock, which may be wrong, and its monotonic one."""

    def __init__(self, skew: int) -> None:
        self.skew = skew
        self.passed = 0
        self.log_time = LogTime(lambda: self.true + self.skew, lambda: self.passed)

    @property
    def true(self) -> int:
        return T + self.passed


def test_before_the_first_acknowledgement_a_command_has_a_minute_more() -> None:
    """So a clock up to 90 s behind loses no command."""
    times = _Times(-45_000)
    assert times.log_time.not_after(0) == T - 45_000 + NOT_AFTER_MS + UNKNOWN_MS


def test_an_acknowledgement_sets_the_time_of_its_partition() -> None:
    """Leaders of other partitions have clocks of their own."""
    for skew in (-45_000, 2 * HOURS, 0):
        times = _Times(skew)
        times.log_time.acknowledged(3, T)
        times.passed = 10_000
        assert times.log_time.not_after(3) == times.true + NOT_AFTER_MS
        assert times.log_time.not_after(4) >= times.true + NOT_AFTER_MS + UNKNOWN_MS


def test_a_clock_that_is_set_changes_nothing() -> None:
    """Time since the acknowledgement is the monotonic clock's."""
    times = _Times(0)
    times.log_time.acknowledged(3, T)
    times.skew = 2 * HOURS
    assert times.log_time.not_after(3) == T + NOT_AFTER_MS
    assert times.log_time.now() == T


def test_a_broker_without_a_time_of_its_own_corrects_nothing() -> None:
    """The embedded broker stamps the producer's time."""
    times = _Times(2 * HOURS)
    times.log_time.acknowledged(3, None)
    assert times.log_time.not_after(3) == T + 2 * HOURS + NOT_AFTER_MS
    assert times.log_time.finding() is None


def test_a_difference_above_five_seconds_is_a_finding() -> None:
    """It says in which direction, and what to do; a slow acknowledgement is none."""
    for skew, words in ((-45_000, "45 s behind"), (2 * HOURS, "7200 s ahead"), (4_000, None), (-4_000, None)):
        times = _Times(skew)
        assert times.log_time.finding() is None, "nothing is known yet"
        times.log_time.acknowledged(3, T)
        finding = times.log_time.finding()
        assert (words is None) == (finding is None)
        if words is not None and finding is not None:
            assert words in finding
            assert "NTP" in finding
            assert times.log_time.now() == T, "reads and receipts are in log time too"
        else:
            assert times.log_time.now() == T + skew
