"""A file of failed tests: it outlives the output of a long run, which scrolls away."""

from collections.abc import Iterable
from typing import Final

import pytest

FILE_VARIABLE: Final = "SLEEP_TEST_FAILURES"
"""Names the file that each run of pytest appends its failed tests to; `make test` and `.ci/run` set it."""
TRACEBACK_LINES: Final = 40
"""The end of a traceback says what went wrong; pytest shows the frames above it in its own output."""


def failures_text(
    failed: Iterable[pytest.TestReport | pytest.CollectReport],
    errors: Iterable[pytest.TestReport | pytest.CollectReport],
) -> str:
    """Return a line `FAILED` or `ERROR` for each test, with the indented end of its traceback."""
    reports = [("FAILED", report) for report in failed] + [("ERROR", report) for report in errors]
    return "".join(f"{outcome} {report.nodeid}\n{_traceback(report)}" for outcome, report in reports)


def _traceback(report: pytest.TestReport | pytest.CollectReport) -> str:
    return "".join(f"    {line}\n" for line in report.longreprtext.splitlines()[-TRACEBACK_LINES:])
