"""Which record each tenant begins with in a replay, and which tenants are named as inexact."""

import pytest

from tests.support.events import breaker, cancel, mode, rules, sleep
from tests.support.records import Source, source
from tests.support.times import HOUR, MINUTE, SECOND, T
from tests.unit.worker.rebuilds import compacted, topic
from tests.unit.worker.replays import folded, range_of, replayed
from worker.recovery.errors import ContradictionError
from worker.recovery.what_if.scenario import Alternative

FLAPS = [source(offset, T + offset * SECOND, breaker(("open", "closed")[offset % 2])) for offset in range(8)]


def test_a_tenant_begins_with_its_last_record_before_the_range() -> None:
    """What the fold makes of the range is then what was published."""
    lane = folded(FLAPS, 1)
    replay = replayed(FLAPS[3:], range_of(FLAPS[3:], 2), lane)
    assert (replay.inexact(), replay.audit.differences, replay.audit.matched) == ({}, 0, 3)
    assert replay.recorded.records["acme"] == lane.record("acme")


def test_a_tenant_whose_record_compaction_removed_is_named() -> None:
    """It begins with the first record that the topic holds; what lies before that is not folded."""
    lane = folded(FLAPS, 1)
    replay = replayed(FLAPS[3:], range_of(FLAPS[3:], 1), lane, states=topic(lane.states)[5:])
    assert replay.inexact() == {"acme": 5}
    assert (replay.audit.differences, replay.audit.matched) == (0, 2)
    effect = replay.effects.tenants["acme"]
    # Closed at second 5, open at 6, closed at 7: the second before is not counted.
    assert (effect.recorded.seconds()["freeze"], effect.recorded.transitions) == (1.0, 2)


def test_a_tenant_that_appears_later_is_exact() -> None:
    """Its first record says that it had none."""
    log = [*FLAPS, source(8, T + 9 * SECOND, breaker("open", tenant="bolt"))]
    replay = replayed(log[3:], range_of(log[3:], 1), folded(log, 1))
    assert replay.inexact() == {}
    assert replay.effects.tenants["bolt"].recorded.transitions == 1


def test_a_commit_across_the_beginning_of_the_fold_loses_nothing() -> None:
    """It published the last of its states only, so its other events are folded again."""
    later = [source(8 + offset, T + 3 * HOUR + offset * SECOND, breaker("open")) for offset in range(3)]
    log = [*FLAPS, *later]
    lane = folded(log, 9)
    replay = replayed(log, range_of(log, 9), lane)
    assert (replay.inexact(), replay.audit.differences) == ({}, 0)
    assert replay.recorded.records["acme"] == lane.record("acme")


def test_a_commit_that_retention_has_cut_makes_its_tenants_inexact() -> None:
    """Their versions show that events are missing. A tenant with one event in the commit is exact."""
    once = source(3, T + 3 * SECOND, breaker("open", tenant="bolt"))
    again = source(7, T + 7 * SECOND, breaker("half_open", tenant="bolt"))
    log = [*FLAPS[:3], once, *FLAPS[4:7], again]
    lane = folded(log, 4)
    kept = log[6:]
    replay = replayed(kept, range_of(kept, 0), lane)
    assert replay.inexact() == {"acme": 6}
    assert (replay.audit.differences, replay.audit.matched) == (0, 1)


def test_a_new_tenant_whose_commit_retention_has_cut_is_inexact() -> None:
    """Its first events are gone, and its first record says only where that commit began."""
    lane = folded(FLAPS, 8)
    kept = FLAPS[4:]
    replay = replayed(kept, range_of(kept, 0), lane)
    assert replay.inexact() == {"acme": 7}
    assert replay.audit.differences == 0


def test_a_tenant_whose_state_a_person_removed_is_named() -> None:
    """Nothing says what it had, so it begins without a record."""
    lane = folded(FLAPS, 1)
    tombstone = Source(99, T, b"acme", None, ())
    replay = replayed(FLAPS, range_of(FLAPS, 4), lane, states=[*topic(lane.states), tombstone])
    assert replay.inexact() == {"acme": None}


def test_what_was_renewed_before_the_range_is_folded() -> None:
    """A renewal is not published, so the last published record lacks its time; a stale event is stale all the same."""
    log = [
        source(0, T, breaker("open", occurred_at=T - 10)),
        source(1, T + MINUTE, breaker("open", occurred_at=T + MINUTE)),
        source(2, T + 2 * MINUTE, breaker("closed", occurred_at=T + 30 * SECOND)),
    ]
    replay = replayed(log, range_of(log, 2), folded(log, 1))
    assert replay.effects.tenants["acme"].recorded.refusals == 1
    assert replay.audit.differences == 0


def test_a_command_whose_event_is_gone_is_known_by_its_row() -> None:
    """Its repeat is a repeat, though it had ended before the log begins."""
    log = [
        source(0, T, sleep("op-1")),
        source(1, T + SECOND, cancel("c-1", "op-1")),
        source(2, T + 2 * SECOND, breaker("open")),
        source(3, T + 3 * SECOND, sleep("op-1")),
        source(4, T + 4 * SECOND, sleep("c-1")),
    ]
    replay = replayed(log[2:], range_of(log[2:], 1), folded(log, 1))
    assert (replay.audit.differences, replay.audit.matched) == (0, 2)
    assert replay.effects.tenants["acme"].recorded.refusals == 2


def test_rules_from_before_the_range_are_in_force() -> None:
    """They are on the states topic for good, even where the log no longer has them."""
    log = [
        source(0, T, rules({"policy": {"ceiling": "light"}})),
        source(1, T + SECOND, breaker("closed")),
        source(2, T + 2 * SECOND, mode("m-1", "freeze")),
    ]
    lane = folded(log, 1)
    replay = replayed(log[2:], range_of(log[2:], 0), lane, states=compacted(topic(lane.states)[:-1]))
    assert replay.effects.tenants["acme"].recorded.state.label == "light"
    assert replay.audit.differences == 0


def test_a_record_under_rules_that_the_topic_lacks_is_an_error() -> None:
    """Its expirations could not be decided."""
    log = [source(0, T, rules({"policy": {"ceiling": "light"}})), *FLAPS[1:]]
    lane = folded(log, 1)
    with pytest.raises(ContradictionError, match=r"tenant acme was folded under rules 1 and .* no rules after 0"):
        replayed(log[2:], range_of(log[2:], 0), lane, states=topic(lane.states)[1:])


def test_rules_that_were_invalid_change_nothing() -> None:
    """They became a dead letter, and have no number."""
    log = [
        source(0, T, rules({"policy": {"ceiling": "light"}})),
        source(1, T + SECOND, rules({"policy": 7})),
        source(2, T + 2 * SECOND, breaker("open")),
    ]
    replay = replayed(log, range_of(log, 0), folded(log, 1))
    assert replay.effects.tenants["acme"].recorded.state.label == "light"
    assert (replay.audit.differences, len(replay.recorded.rules)) == (0, 2)


def test_an_inexact_tenant_follows_other_rules_from_its_first_record_on() -> None:
    """Both sides begin there, so what is compared is the same time."""
    lane = folded(FLAPS, 1)
    range_ = range_of(FLAPS[3:], 0, to_at=T + 10 * SECOND)
    other = Alternative({"policy": {"breakers": [{"match": "*", "open": "light"}]}})
    replay = replayed(FLAPS[3:], range_, lane, states=topic(lane.states)[6:], alternative=other)
    effect = replay.effects.tenants["acme"]
    # Opened at second 6, which is its first record, and closed at 7.
    assert replay.inexact() == {"acme": 6}
    assert (effect.recorded.seconds()["freeze"], effect.replayed.seconds()["light"]) == (1.0, 1.0)
    assert effect.replayed.seconds()["freeze"] == 0.0
