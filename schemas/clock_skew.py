"""Findings on the difference between two clocks."""

from typing import Final

SKEW_MS: Final = 5_000
"""Larger than the delay of a slow answer: an append is acknowledged within 4 s, and Redis answers sooner."""

_LOG_APPEND_TIME: Final = 1
_EARLIEST_MS: Final = 1_000_000_000_000
LOG_TIME: Final = "the Kafka broker (log time)"


def skew_finding(other: str, skew_ms: int) -> str | None:
    """Return the finding on a clock that is `skew_ms` ahead of this process's clock, None if the two agree.

    Args:
        other: the owner of the other clock, such as "Redis".
        skew_ms: how far the other clock is ahead; negative if it is behind.
    """
    if abs(skew_ms) <= SKEW_MS:
        return None
    seconds, where = abs(skew_ms) / 1000, "behind" if skew_ms > 0 else "ahead of"
    return f"the clock of this process is {seconds:.0f} s {where} that of {other}: synchronise both machines (NTP)"


def skew_between(before: int, other: int, after: int) -> int:
    """Return the least skew of another clock that was read between two times of this machine, in milliseconds."""
    return max(other - after, 0) or min(other - before, 0)


def broker_time(timestamp: int | None, timestamp_type: int) -> int | None:
    """Return the broker's own time in an acknowledgement, None without one.

    The embedded broker acknowledges every record with the time 1234, so a time before 2001 is ignored.
    """
    by_broker = timestamp_type == _LOG_APPEND_TIME and timestamp is not None and timestamp > _EARLIEST_MS
    return timestamp if by_broker else None
