"""What a rebuild refuses: a log that is not that of the states, and records that are not ours; and what force does."""

import json
from collections.abc import Sequence

import pytest

from schemas.partition import partition_of
from tests.unit.worker.batches import apply_all
from tests.unit.worker.build import MINUTE, Source, T, breaker, rules, sleep
from tests.unit.worker.rebuilds import compacted, found, log_of, rebuilt, records_of, topic
from worker.ports import Output
from worker.recovery.audit import Audit
from worker.recovery.found import OtherLogError
from worker.recovery.history import History, ImpossibleError
from worker.recovery.rebuild import Rebuild


def test_a_log_that_ends_before_what_was_applied_is_refused() -> None:
    """The message says what it takes; by force the states stand, and no record is of an offset yet to come."""
    log = log_of(*[breaker(state) for state in ("open", "closed", "open", "half_open")])
    lane = apply_all(log)
    what = found(topic(lane.states), topic(lane.transitions), 0, 2)
    with pytest.raises(OtherLogError, match=r"4 records were applied and the log ends at 2.*--partition 0 --force"):
        Rebuild(0, 1, what)
    again = rebuilt(what, log[:2], cut=True)
    assert (again.next, again.records["acme"].offset) == (2, 1)
    assert again.records["acme"]._replace(offset=3) == records_of(lane)["acme"]


def invented(tenant: str, offset: int, states: Sequence[Source]) -> list[Source]:
    """Return the states with one more of a tenant that is there, which says to be awake at an offset."""
    last = next(record for record in reversed(states) if record.key == tenant.encode())
    change = {"position": f"0:{offset}", "state": "active", "decided": "active", "claims": [], "version": 99}
    value = json.dumps(json.loads(last.value or b"") | change).encode()
    return [*states, Source(len(states), T, last.key, value, ())]


@pytest.mark.parametrize("compacts", [False, True])
def test_a_state_from_behind_the_end_of_the_log_is_named_and_by_force_passed_over(compacts: bool) -> None:  # noqa: FBT001
    """Somebody else wrote it; the tenant is folded, and its true state appended behind the other."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    states = invented("acme", 1_000, topic(lane.states))
    what = found(compacted(states) if compacts else states, topic(lane.transitions), 0, 2, committed=2)
    with pytest.raises(OtherLogError, match=r"tenant acme has a state from 0:1000, and the log ends at 2, as does all"):
        rebuilt(what, log)
    again = rebuilt(what, log, cut=True)
    assert again.records == records_of(lane)
    assert again.states == [lane.states[0]]
    assert again.passed_over == {"acme": 1_000}


def test_a_tenant_that_nothing_else_tells_of_has_no_record_afterwards() -> None:
    """A tombstone stands behind the state that somebody invented for it."""
    lane = apply_all(log_of(breaker("open"), breaker("open", tenant="bolt")))
    states = invented("acme", 1_000, topic(lane.states))[1:]
    again = rebuilt(found(states, [], 2, 2, committed=2), [], cut=True)
    assert again.records.keys() == {"bolt"}
    assert again.states == [Output(b"acme", None, (("sleep.position", b"0:1"),))]


def test_states_from_behind_the_end_are_taken_by_force_where_the_audit_is_from_there_too() -> None:
    """The log was cut: what it lost was applied."""
    log = log_of(breaker("open"), breaker("closed"))
    lane = apply_all(log)
    states = compacted(topic(lane.states))
    again = rebuilt(found(states, topic(lane.transitions), 0, 1, committed=1), log[:1], cut=True)
    assert again.records["acme"]._replace(offset=1) == records_of(lane)["acme"]
    assert again.passed_over == {}


def test_of_many_states_from_behind_the_end_some_are_named() -> None:
    """And how many more there are."""
    log = log_of(*[breaker("open", tenant=f"t-{number}") for number in range(9)])
    lane = apply_all(log)
    with pytest.raises(OtherLogError, match=r"tenant t-4 has a state from 0:4, 4 more tenants likewise, 9 records"):
        rebuilt(found(topic(lane.states), [], 0, 0), [])


def test_a_log_that_was_made_anew_is_recognised() -> None:
    """Where a tenant's state stems from stands another's record; by force the new log is left to the workers whole."""
    lane = apply_all(log_of(breaker("open"), sleep("op-1")))
    other = log_of(*[breaker("open", tenant="bolt")] * 9)
    what = found(topic(lane.states), topic(lane.transitions), 0, 9)
    with pytest.raises(OtherLogError, match="tenant acme has a state from 0:0, where the log holds another"):
        rebuilt(what, other)
    again = rebuilt(what, other, other_log=True)
    assert (again.next, set(again.records), again.records["acme"].offset) == (0, {"acme"}, -1)
    # Were it from further on than the new log, lanes would take it for one that is still to come.
    assert again.operations["acme", "op-1"].offset == -1


def test_rules_of_another_log_are_recognised() -> None:
    """Nothing that was decided under the others would hold."""
    lane = apply_all(log_of(rules({"retire_after_seconds": 60}), breaker("open")))
    other = log_of(rules({"retire_after_seconds": 61}), breaker("open"))
    with pytest.raises(OtherLogError, match="rules 1 in the log are not those"):
        rebuilt(found(topic(lane.states), [], 0, 2), other)


def test_rules_that_are_missing_are_named() -> None:
    """Records were folded under them."""
    lane = apply_all(log_of(rules({}), rules({"retire_after_seconds": 60}), breaker("open")))
    states = topic(lane.states)
    with pytest.raises(ImpossibleError, match="lacks the rules of number 1"):
        Rebuild(0, 1, found([states[1], states[2]], [], 0, 3))
    with pytest.raises(ImpossibleError, match="folded under rules 2 and the states topic holds only 1"):
        Rebuild(0, 1, found([states[0], states[2]], [], 0, 3))


def test_a_state_from_the_future_is_refused() -> None:
    """No worker publishes what is more than a minute ahead."""
    lane = apply_all(log_of(breaker("open")))
    rebuild = Rebuild(0, 1, found(topic(lane.states), [], 0, 1))
    rebuild.read(log_of(breaker("open")))
    rebuild.finished(T - MINUTE)
    with pytest.raises(ImpossibleError, match="60001 ms ahead of this clock"):
        rebuild.finished(T - MINUTE - 1)


def test_a_command_that_is_not_where_its_row_says_is_refused() -> None:
    """Log and audit are not of one history."""
    log = log_of(breaker("open"), sleep("op-1"), sleep("op-2"))
    lane = apply_all(log)
    log[1].value = log_of(sleep("op-9"))[0].value
    with pytest.raises(ImpossibleError, match="0:1 is not the command op-1 of tenant acme"):
        rebuilt(found(topic(lane.states), topic(lane.transitions), 0, 3), log)


def test_a_worker_of_ours_that_fails_on_most_records_stops_the_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that applied them did not skip them."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("worker.batch.fold", fail)
    log = log_of(*[breaker("open")] * 600)
    what = found([], [], 0, 600, committed=600)
    with pytest.raises(ImpossibleError, match="our own code fails on most of the records"):
        rebuilt(what, log)


def _state(**change: object) -> Source:
    lane = apply_all(log_of(breaker("open")))
    [record] = topic(lane.states)
    record.value = json.dumps(json.loads(record.value or b"") | change).encode()
    return record


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (_state(tenant="bolt"), "key 'acme' is not the record's tenant 'bolt'"),
        (_state(position="1:0"), "position 1:0 is on states partition 0"),
        (_state(position="?"), "is not a position"),
        (Source(0, T, b"acme", b"{"), "not a record of ours"),
        (Source(0, T, None, b"{}"), "it has no key"),
        (Source(0, T, b"\xff", b"{}"), "not a record of ours"),
        (Source(0, T, b"*rules:x", b"{}"), "not a record of ours"),
        (Source(0, T, b"*rules:1", b'{"number":2,"position":"0:0"}'), "it has number 2"),
        (Source(0, T, b"*rules:1", b'{"number":1,"position":"0:0","rules":{"policy":7}}'), "not a record of ours"),
    ],
)
def test_what_is_no_state_of_this_partition_is_named(record: Source, words: str) -> None:
    """A foreign record in the states topic is never folded on top of."""
    with pytest.raises(ImpossibleError, match=words):
        History(0, 1).read(record)


def test_a_state_that_cannot_be_is_named_when_it_is_taken() -> None:
    """With its tenant and its place."""
    with pytest.raises(ImpossibleError, match="tenant acme at 0: not a state record"):
        Rebuild(0, 1, found([_state(state="drowsy")], [], 0, 1))


def test_tenants_of_another_partition_count_are_named() -> None:
    """A partition count cannot change in place, and the message says what to do."""
    history = History((partition_of("acme", 8) + 1) % 8, 8)
    stray = _state(position=f"{(partition_of('acme', 8) + 1) % 8}:0")
    with pytest.raises(ImpossibleError, match=r"of 8, and belongs on \d.*sleepctl topics create"):
        history.read(stray)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{", "not a record of ours"),
        (b"{}", "not a record of ours"),
        (b'{"position":"1:0"}', "transitions partition 0"),
    ],
)
def test_what_is_no_audit_row_is_named(value: bytes, words: str) -> None:
    """As with states."""
    with pytest.raises(ImpossibleError, match=words):
        Audit(0, 0).read(Source(4, T, b"acme", value))


def test_a_tombstone_sent_by_hand_takes_a_foreign_record_away() -> None:
    """It has no position, and so says nothing of the log; rules go the same way."""
    history = History(0, 1)
    history.read(_state())
    history.read(Source(1, T, b"acme", None, ()))
    history.read(Source(2, T, b"*rules:1", b'{"number":1,"position":"0:0","rules":{}}'))
    history.read(Source(3, T, b"*rules:1", None, ()))
    assert (history.tenants, len(history.rules())) == ({}, 1)
