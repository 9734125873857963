"""What was set aside of a partition, by its dead letters and by what was published."""

import pytest

from schemas.kafka.source_record import Failure
from tests.support.batches import apply_all, failing_at
from tests.support.events import breaker, rules
from tests.support.records import Source, source
from tests.support.times import T
from tests.unit.worker.rebuilds import decodable_since, evidence_of, log_of, rebuilt, records_of, set_aside, topic
from worker.fold.dead_letter import dead_letter

POISON = source(1, T + 10, breaker("half_open"))
LETTER = dead_letter(POISON, Failure("fold_failed", "ZeroDivisionError", ours=True))


def test_a_dead_letter_names_its_record() -> None:
    """The one at its place, and no other."""
    aside = set_aside([LETTER])
    assert aside
    assert [record.offset for record in log_of(*[breaker("half_open")] * 3) if aside.contains(record)] == [1]


@pytest.mark.parametrize(
    "other",
    [
        source(1, T + 11, breaker("half_open")),
        source(1, T + 10, breaker("closed")),
        source(1, T + 10, breaker("half_open", tenant="bolt")),
        Source(1, T + 10, b"acme", None),
    ],
    ids=["time", "value", "key", "tombstone"],
)
def test_another_record_at_its_place_is_not_meant(other: Source) -> None:
    """The topic was made anew, and its old dead letters are there for 30 days."""
    assert not set_aside([LETTER]).contains(other)


def test_what_is_published_of_a_record_tells_that_it_was_folded() -> None:
    """Of the same tenant: a tombstone that a repair sent has a position that is not its own."""
    aside = set_aside([LETTER])
    aside.mark_folded(1, b"bolt")
    aside.mark_folded(2, b"acme")
    assert aside.contains(POISON)
    aside.mark_folded(1, b"acme")
    assert not aside.contains(POISON)


def test_rules_have_no_key() -> None:
    """What is published of them is named by their number."""
    record = source(1, T, rules({}))
    aside = set_aside([dead_letter(record, Failure("fold_failed", "x", ours=True))])
    assert aside.contains(record)
    aside.mark_folded(1, None)
    assert not aside.contains(record)


def test_what_cannot_be_decoded_today_either_is_not_kept() -> None:
    """It is a dead letter again; there may be millions, and each would take memory."""
    log = log_of(breaker("open"))
    log[0].value = b"{"
    assert not set_aside(apply_all(log).dead_letters)


def test_what_lacks_headers_is_kept() -> None:
    """Of an event in binary mode they are a part, so that nobody can tell what it is today."""
    record = Source(1, T, b"acme", b"{}", [("big", b"x" * 70_000), ("ce_specversion", b"1.0")])
    assert set_aside([dead_letter(record, Failure("unknown_type", "of tomorrow"))]).contains(record)


def test_what_an_older_version_did_not_know_is_kept() -> None:
    """It was skipped then, for whatever reason."""
    assert set_aside([dead_letter(POISON, Failure("unknown_type", "of tomorrow"))]).contains(POISON)


@pytest.mark.parametrize("poison", decodable_since(1))
def test_what_this_version_decodes_stays_set_aside(poison: Source) -> None:
    """It was passed over when the log was folded: a rebuild goes by the dead letter, and the tenant stays asleep."""
    log = [*log_of(breaker("open")), poison]
    lane = apply_all(log[:1])
    dead_letters = [dead_letter(poison, Failure("invalid_event", "of an earlier version"))]
    assert not apply_all(log).dead_letters
    again = rebuilt(
        evidence_of(topic(lane.states), topic(lane.transitions), 0, 2, committed=2, dead_letters=dead_letters), log
    )
    assert again.records == records_of(lane)
    assert [record.state.label for record in again.records.values()] == ["freeze"]


def test_a_batch_that_failed_twice_is_one_history() -> None:
    """A worker died and the next one failed on the same record."""
    log = log_of(breaker("open"), breaker("half_open"))
    with failing_at(1):
        dead_letters = [*apply_all(log).dead_letters, *apply_all(log).dead_letters]
    assert [set_aside(dead_letters).contains(record) for record in log] == [False, True]
