"""`python -m tests.unit.api.hot`: record what the hot requests are answered now, instead of what was recorded.

A change that is to keep the answers is judged by those from before it. So record before such a change, or not at all.
"""

import sys

import pytest

from tests.unit.api.hot.answers import FILE, RECORDING, Answer, write

TEST = "tests/unit/api/test_hot_requests.py"


class Recorder:
    """Has the test keep each answer instead of judging it."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        """Give the test where to keep them."""
        config.stash[RECORDING] = self.answers


def main() -> int:
    """Record, and return the exit status."""
    recorder = Recorder()
    if status := pytest.main(["-q", "-k", "is_answered_as_recorded", TEST], plugins=[recorder]):
        return int(status)
    write(recorder.answers)
    print(f"{len(recorder.answers)} answers in {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
