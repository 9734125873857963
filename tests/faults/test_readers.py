"""What the watch over readers notices: a step back, and an answer that is not the fold's."""

from typing import Any, Final

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from schemas.wire.cloudevents import STRUCTURED_HEADERS
from sleep_client import ReaderStatus
from sleep_client.open_reader import Change
from sleep_client.reading.log_clock import LogClock
from sleep_client.runtime.clock import seconds
from tests.faults.readers import Watched, differences, fold_of
from tests.support.events import event_bytes
from tests.support.fakes import LogRecord
from tests.support.reference import Reference
from tests.support.times import NOW

CHANGED: Final = Change(ReaderStatus.READY, frozenset({"acme"}))
ANYTHING: Final = Change(ReaderStatus.STALE, None)


class Past:
    """A log of one partition in which a breaker of `acme` opens, and maybe closes."""

    partition = 0

    def __init__(self, *states: str) -> None:
        self.reference = Reference()
        for offset, state in enumerate(states):
            value = event_bytes(events.BREAKER, {"breaker": "db", "state": state}, "acme", id_=f"e-{offset}")
            self.reference.read(LogRecord("t", 0, offset, NOW, b"acme", value, STRUCTURED_HEADERS), 1)


class Reader:
    """Knows the fold of a log."""

    def __init__(self, past: Any, status: ReaderStatus = ReaderStatus.READY) -> None:  # noqa: ANN401 - a `Past` of this test
        self.status = status
        self._tenants = fold_of([past])
        clock = LogClock()
        clock.learn(NOW, seconds())
        self._log_time = clock.at


def test_a_position_that_goes_back_is_noticed() -> None:
    """Whether the tenant was named or not; one that is no longer listed, and comes again, must be newer too."""
    watched = Watched("reader")
    for offsets, change in (({"acme": 5}, CHANGED), ({}, ANYTHING), ({"acme": 5, "globex": 1}, ANYTHING)):
        watched.see(offsets, change)
    assert (watched.back, watched.changes, watched.lost) == ([], 3, 2)
    watched.see({"acme": 4}, CHANGED)
    watched.see({"acme": 6, "globex": 0}, ANYTHING)
    assert watched.back == ["reader: acme went from 5 back to 4", "reader: globex went from 1 back to 0"]


def test_an_answer_that_is_not_the_folds_is_noticed() -> None:
    """At this moment or later; and a reader that is not ready."""
    assert partition_of("acme", 1) == 0
    opened: Any = Past("open")
    closed: Any = Past("open", "closed")
    same: Any = Reader(opened)
    assert differences(same, fold_of([opened]), [opened]) == []
    found = differences(same, fold_of([closed]), [closed])
    assert found
    assert "state='freeze'" in found[0]
    stale: Any = Reader(opened, ReaderStatus.STALE)
    assert differences(stale, fold_of([opened]), [opened]) == ["Reader is stale"]
