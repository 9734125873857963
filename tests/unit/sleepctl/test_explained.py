"""The text of an explanation: each step says what it did, in words."""

from typing import Any

import pytest

from sleepctl.ui.explained import print_explanation
from tests.support.events import Document, breaker, mode, pin, policy, sleep, timer
from tests.support.records import Source, source
from tests.support.times import DAY, SECOND, T
from tests.unit.worker.rebuilds import log_of
from tests.unit.worker.replays import EACH_STEP, explained

HOLD = {"min_sleep_seconds": 60, "ramp_seconds": {"wake": 0}}


def text_of(capsys: pytest.CaptureFixture[str], log: list[Source]) -> str:
    """Return what is printed of the last event of a log."""
    document: dict[str, Any] = {"transition": "0:9:0", "alternative": False, **explained(log)}
    print_explanation(document)
    return capsys.readouterr().out


def test_each_step_says_what_it_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """The end of a lease, newer rules, an operation, and a ceiling that cuts it."""
    text = text_of(capsys, EACH_STEP)
    assert "2 expirations  ended: freeze: breaker payments@1 is open, since 2026-11-22T08:07:17.992Z" in text
    assert "freeze to deep at 2026-11-22T08:22:17.992Z: expired payments@1 (0:3:0)" in text
    assert "before, " in text
    assert "deep to light at 2026-11-22T08:23:57.992Z: rules (0:3:1)" in text
    assert "4 event        added: freeze: operation op-1, since 2026-11-22T08:23:57.992Z" in text
    assert "5 decision     stays light" in text
    assert "decided by: the ceiling of the rules, light; without it freeze" in text
    assert "6 deadline     2026-11-22T08:24:57.992Z" in text


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        ([breaker("open")], ["before         no record", "3 rules", "6 deadline     2026-11-22T08:22:17.992Z"]),
        (
            [breaker("open"), sleep("op-1", "light", DAY)],
            ["4 event        refused, ttl_out_of_range: the TTL must be", "not published: nothing that readers see"],
        ),
        (
            [mode("m-1", "deep"), mode("m-2", "active")],
            ["4 event        removed: deep: mode, since", "6 deadline     none"],
        ),
        ([breaker("open"), policy("p-1", {"ceiling": "light"})], ["4 event        the policy changes to version 1"]),
        (
            [policy("p-1", {"enforce": False}), breaker("open")],
            [
                "active to freeze at 2026-11-22T08:07:18.002Z: breaker payments@1, dry run",
                "state active: the policy has",
            ],
        ),
        ([breaker("open"), timer()], ["4 event        nothing", "5 decision     stays freeze"]),
        (
            [policy("p-1", HOLD), breaker("open"), breaker("closed")],
            ["decided by: the minimum sleep, which holds freeze"],
        ),
        ([pin("m-1", "active"), breaker("open")], ["decided by: the pin; without it freeze"]),
    ],
)
def test_each_kind_of_event_is_told_in_words(
    capsys: pytest.CaptureFixture[str], events: list[Document], lines: list[str]
) -> None:
    """A refusal with its reason, a policy with its version, a dry run as such."""
    text = text_of(capsys, log_of(*events))
    assert [line for line in lines if line not in text] == []


def test_a_record_that_retires_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no record after it, and so no decision."""
    text = text_of(capsys, [source(0, T, breaker("closed")), source(1, T + 2 * DAY + SECOND, timer())])
    assert "4 event        the record retires" in text
    assert "5 decision     none: there is no record" in text
    assert "after          no record" in text
