"""A line for the log, as the cores decide it."""

from typing import NamedTuple


class Notice(NamedTuple):
    """A line for the log: its level, as in `logging`, and the text."""

    level: int
    text: str
