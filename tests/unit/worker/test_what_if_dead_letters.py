"""A record that became a dead letter changes nothing in a replay, and neither does one on which our code fails."""

from tests.support.batches import Lane, failing_at
from tests.support.events import breaker
from tests.support.records import Source, source
from tests.support.times import SECOND, T
from tests.unit.worker.replays import range_of, replayed

LOG = [source(offset, T + offset * SECOND, breaker(state)) for offset, state in enumerate(("open", "closed", "open"))]


def test_a_record_that_became_a_dead_letter_is_skipped() -> None:
    """This version could fold it, and the one that applied it could not."""
    lane = Lane(remembers=True)
    with failing_at(1):
        lane.apply(LOG)
    replay = replayed(LOG, range_of(LOG, 0), lane)
    assert replay.audit.differences == 0
    assert replay.effects.tenants["acme"].recorded.seconds()["freeze"] == 2.0


def test_a_dead_letter_that_was_folded_after_all_is_folded() -> None:
    """A row names its position: a repaired worker folded it."""
    failed, repaired = Lane(remembers=True), Lane(remembers=True)
    with failing_at(1):
        failed.apply(LOG)
    repaired.apply(LOG)
    repaired.dead_letters = failed.dead_letters
    replay = replayed(LOG, range_of(LOG, 0), repaired)
    assert (replay.audit.differences, replay.audit.matched) == (0, 3)


def test_an_event_on_which_our_code_fails_is_counted() -> None:
    """It changes nothing, as in a worker that makes a dead letter of it."""
    lane = Lane(remembers=True)
    lane.apply(LOG)
    with failing_at(1, module="worker.recovery.what_if.scenario"):
        replay = replayed(LOG, range_of(LOG, 0), lane)
    assert (replay.failed, replay.events) == (1, 3)
    assert replay.effects.tenants["acme"].recorded.seconds()["freeze"] == 2.0


def test_records_that_are_no_events_are_passed_over() -> None:
    """They were dead letters from the beginning."""
    log = [LOG[0], Source(1, T + SECOND, b"acme", b"{"), LOG[2]]
    lane = Lane(remembers=True)
    lane.apply(log)
    replay = replayed(log, range_of(log, 0), lane)
    assert (replay.events, replay.audit.differences) == (2, 0)
