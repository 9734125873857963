"""A file of failed tests: it outlives the output of a long run, which scrolls away."""

from collections.abc import Iterable
from typing import Final

import pytest

FILE_VARIABLE: Final = "SLEEP_TEST_FAILURES"
"""Names the file that each run of pytest appends its failed tests to; `make test` and `.ci/run` set it."""
TRACEBACK_LINES: Final = 40
"""The end of a traceback says what went wrong; pytest shows the frames above it in its own output."""


Reports = Iterable[pytest.TestReport | pytest.CollectReport]


def failures_text(failed: Reports, errors: Reports, rerun: Reports = ()) -> str:
    """Return a line for each test, with the indented end of its traceback.

    The line begins with `FAILED`, with `ERROR` where a fixture failed, or with `RERUN` for a try after which CI tried
    the test once more. What failed twice has two entries.
    """
    outcomes = (("RERUN", rerun), ("FAILED", failed), ("ERROR", errors))
    return "".join(
        f"{outcome} {report.nodeid}\n{_traceback(report)}" for outcome, reports in outcomes for report in reports
    )


def _traceback(report: pytest.TestReport | pytest.CollectReport) -> str:
    return "".join(f"    {line}\n" for line in report.longreprtext.splitlines()[-TRACEBACK_LINES:])
