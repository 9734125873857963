"""The time at which most tests begin, and units of time; all in milliseconds."""

from typing import Final

T: Final = 1_795_334_837_992
"""A time of the log: 2026-11-22T08:07:17.992Z."""
NOW: Final = T
SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
