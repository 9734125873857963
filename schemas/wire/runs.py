"""Runs: many requests of an operator, one for each tenant, that a client may continue after an interruption."""

from typing import Final

RUN_HEADER: Final = "Sleep-Run"
"""The header that names the run that a request is part of."""
RUN_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
RUN_IN_WORDS: Final = "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or a digit"
