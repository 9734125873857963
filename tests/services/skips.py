"""Tests that a way of getting services cannot serve: why, whether that may be, and how it is summed up."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NoReturn

import pytest

from tests.services.base import Kind


class Lacks(StrEnum):
    """What the embedded broker cannot do: the reason of a mark `needs_kafka`."""

    LOG_TIME = "does not stamp records with its own time"
    MARKERS = "writes no marker at the end of a transaction"
    GROUPS = "does not tell who is in a consumer group"
    TOPICS = "neither makes nor describes topics for a client"
    DELETING = "deletes no records before an offset"
    SPACE = "keeps no more than 5 MiB of a partition"
    ANY = "does not do all that Kafka does"


def pass_over(reason: str) -> NoReturn:
    """Skip what these services cannot do.

    With `CI` set it fails, so that nothing is left out unseen; there `SLEEP_TEST_SERVICES` says which way is meant,
    and allows what that way cannot do. Containers can do everything: where they are forced, nothing is skipped.
    """
    forced = os.environ.get("SLEEP_TEST_SERVICES")
    if forced == Kind.CONTAINERS:
        pytest.fail(f"{reason}; containers can do everything, so nothing is skipped")
    if os.environ.get("CI") and not forced:
        pytest.fail(f"{reason}; with CI set, SLEEP_TEST_SERVICES has to say that these services are meant")
    pytest.skip(reason)


def skip_lines(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> Iterator[str]:
    """Yield a line for each reason of skipped tests, the most frequent first."""
    for reason, count in Counter(map(_reason, reports)).most_common():
        yield f"skipped: {count} {'test' if count == 1 else 'tests'}: {reason}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
