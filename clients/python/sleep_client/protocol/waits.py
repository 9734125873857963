"""How long to wait before the next attempt. `jitter` is a random number from 0 to 1 everywhere."""

from typing import Final

MOST_SECONDS: Final = 16.0
"""The longest wait after a failure. 500 pods then make about 40 requests a second to a server that is away."""
REFUSED_SECONDS: Final = 60.0
"""The wait after an answer that only a person can change, such as 401. 500 pods stay below the server's default budget
of 600 refused requests a minute."""
MOST_RETRY_AFTER: Final = 300
CLOSING_SECONDS: Final = 0.5
"""The longest wait while the emitter closes, which is bounded as a whole."""


def after_failure(failures: int, jitter: float) -> float:
    """Return the wait after a number of failures in a row: 1 s, doubled each time, at most 16 s, half of it random."""
    longest = min(2.0 ** min(failures - 1, 10), MOST_SECONDS)
    return longest * (1 + jitter) / 2


def after_refusal(jitter: float) -> float:
    """Return the wait after an answer that only a person can change: about a minute."""
    return REFUSED_SECONDS * (1 + jitter / 2)


def after_retry_after(seconds: int, jitter: float) -> float:
    """Return the wait that the server asked for, and up to half as long again, so that callers come back spread out."""
    return max(1, min(seconds, MOST_RETRY_AFTER)) * (1 + jitter / 2)


def repeat_period(repeat_seconds: float, jitter: float) -> float:
    """Return the period of an emitter's repeats: a tenth of it is random, so that emitters do not repeat in step."""
    return repeat_seconds * (1 - jitter / 10)
