"""What a rebuild refuses: a log that is not that of the states, and records that are not ours; and what force does."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.kafka.partitioner import partition_of
from tests.support.batches import apply_all
from tests.support.events import breaker, rules, sleep
from tests.support.records import Source
from tests.support.times import MINUTE, T
from tests.unit.worker.rebuilds import compacted, evidence_of, log_of, rebuilt, records_of, topic
from worker.ports import Output
from worker.recovery.audit import Audit
from worker.recovery.errors import ContradictionError, OtherLogError
from worker.recovery.evidence import PartitionEvidence
from worker.recovery.plan import Action
from worker.recovery.replay import Replay
from worker.recovery.states_history import StatesHistory


def replay_of(evidence: PartitionEvidence) -> Replay:
    """Return a replay that has read nothing of the log yet."""
    return Replay(evidence, Action.RESUME_FROM_STATES)


def test_a_log_that_ends_before_what_was_applied_goes_on_from_its_end() -> None:
    """By force the states stand, and no record is of an offset yet to come."""
    log = log_of(*[breaker(state) for state in ("open", "closed", "open", "half_open")])
    lane = apply_all(log)
    what = evidence_of(topic(lane.states), topic(lane.transitions), 0, 2)
    again = rebuilt(what, log[:2])
    assert (again.next, again.records["acme"].offset) == (2, 1)
    assert replace(again.records["acme"], offset=3) == records_of(lane)["acme"]


def invented(tenant: str, offset: int, states: Sequence[Source]) -> list[Source]:
    """Return the states with one more of a tenant that is there, which says to be awake at an offset."""
    last = next(record for record in reversed(states) if record.key == tenant.encode())
    change = {"position": f"0:{offset}", "state": "active", "decided": "active", "claims": [], "version": 99}
    value = json.dumps(json.loads(last.value or b"") | change).encode()
    return [*states, Source(len(states), T, last.key, value, ())]


@pytest.mark.parametrize("compacts", [False, True])
def test_a_state_from_behind_the_end_of_the_log_is_by_force_ignored(compacts: bool) -> None:  # noqa: FBT001
    """Somebody else wrote it; the tenant is folded, and its true state appended behind the other."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"))
    lane = apply_all(log)
    states = invented("acme", 1_000, topic(lane.states))
    what = evidence_of(compacted(states) if compacts else states, topic(lane.transitions), 0, 2, committed=2)
    again = rebuilt(what, log)
    assert again.records == records_of(lane)
    assert [state[:2] for state in again.states] == [lane.states[0][:2]]
    assert again.ignored == {"acme": 1_000}


def test_a_tenant_that_nothing_else_tells_of_has_no_record_afterwards() -> None:
    """A tombstone stands behind the state that somebody invented for it."""
    lane = apply_all(log_of(breaker("open"), breaker("open", tenant="bolt")))
    states = invented("acme", 1_000, topic(lane.states))[1:]
    again = rebuilt(evidence_of(states, [], 2, 2, committed=2), [])
    assert again.records.keys() == {"bolt"}
    assert again.states == [Output(b"acme", None, (("sleep.position", b"0:1"),))]


def test_states_from_beyond_the_end_are_taken_by_force_if_the_audit_has_them() -> None:
    """The log was cut: what it lost was applied."""
    log = log_of(breaker("open"), breaker("closed"))
    lane = apply_all(log)
    states = compacted(topic(lane.states))
    again = rebuilt(evidence_of(states, topic(lane.transitions), 0, 1, committed=1), log[:1])
    assert replace(again.records["acme"], offset=1) == records_of(lane)["acme"]
    assert again.ignored == {}


def test_a_log_that_was_made_anew_is_recognised() -> None:
    """Where a tenant's state stems from stands another's record; by force the new log is left to the workers whole."""
    lane = apply_all(log_of(breaker("open"), sleep("op-1")), [1])
    other = log_of(*[breaker("open", tenant="bolt")] * 9)
    what = evidence_of(topic(lane.states), topic(lane.transitions), 0, 9)
    with pytest.raises(OtherLogError, match="tenant acme has a state from 0:0, where the log holds another"):
        rebuilt(what, other)
    again = rebuilt(what, other, Action.TAKE_STATES_AS_THEY_ARE)
    assert (again.next, set(again.records), again.records["acme"].offset) == (0, {"acme"}, -1)
    # Were it from further on than the new log, lanes would take it for one that is still to come.
    assert again.operations["acme", "op-1"].offset == -1


def test_rules_of_another_log_are_recognised() -> None:
    """Nothing that was decided under the others would hold."""
    lane = apply_all(log_of(rules({"retire_after_seconds": 60}), breaker("open")))
    other = log_of(rules({"retire_after_seconds": 61}), breaker("open"))
    with pytest.raises(OtherLogError, match="rules 1 in the log are not those"):
        rebuilt(evidence_of(topic(lane.states), [], 0, 2), other)


def test_rules_that_are_missing_are_named() -> None:
    """Records were folded under them."""
    lane = apply_all(log_of(rules({}), rules({"retire_after_seconds": 60}), breaker("open")))
    states = topic(lane.states)
    with pytest.raises(ContradictionError, match="lacks the rules of number 1"):
        replay_of(evidence_of([states[1], states[2]], [], 0, 3))
    with pytest.raises(ContradictionError, match="folded under rules 2 and the states topic has no rules after 1"):
        replay_of(evidence_of([states[0], states[2]], [], 0, 3))


def test_a_state_from_the_future_is_refused() -> None:
    """No worker publishes what is more than a minute ahead."""
    lane = apply_all(log_of(breaker("open")))
    rebuild = replay_of(evidence_of(topic(lane.states), [], 0, 1))
    rebuild.read(log_of(breaker("open")))
    rebuild.finished(T - MINUTE)
    with pytest.raises(ContradictionError, match="60001 ms ahead of this clock"):
        rebuild.finished(T - MINUTE - 1)


def test_a_command_that_is_not_where_its_row_says_is_refused() -> None:
    """Log and audit are not of one history."""
    log = log_of(breaker("open"), sleep("op-1"), sleep("op-2"))
    lane = apply_all(log)
    log[1].value = log_of(sleep("op-9"))[0].value
    with pytest.raises(ContradictionError, match="0:1 is not the command op-1 of tenant acme"):
        rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 0, 3), log)


def test_a_worker_of_ours_that_fails_on_most_records_stops_the_rebuild(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that applied them did not skip them."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("worker.fold.piece.fold", fail)
    log = log_of(*[breaker("open")] * 600)
    what = evidence_of([], [], 0, 600, committed=600)
    with pytest.raises(ContradictionError, match="our own code fails on most of the records"):
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
        (Source(0, T, b"acme", b"{"), "no worker wrote this record"),
        (Source(0, T, None, b"{}"), "it has no key"),
        (Source(0, T, b"\xff", b"{}"), "no worker wrote this record"),
        (Source(0, T, b"*rules:x", b"{}"), "no worker wrote this record"),
        (Source(0, T, b"*rules:1", b'{"number":2,"position":"0:0"}'), "it has number 2"),
        (
            Source(0, T, b"*rules:1", b'{"number":1,"position":"0:0","rules":{"policy":7}}'),
            "no worker wrote this record",
        ),
    ],
)
def test_what_is_no_state_of_this_partition_is_named(record: Source, words: str) -> None:
    """A foreign record in the states topic is never folded on top of."""
    with pytest.raises(ContradictionError, match=words):
        StatesHistory(0, 1).read(record)


def test_a_state_that_cannot_be_is_named_when_it_is_taken() -> None:
    """With its tenant and its place."""
    with pytest.raises(ContradictionError, match="tenant acme at 0: not a state record"):
        replay_of(evidence_of([_state(state=7)], [], 0, 1))


def test_a_state_of_a_newer_release_asks_for_an_upgrade() -> None:
    """Rebuilding by the older release would lose what it does not know."""
    state = _state(cause={"kind": "completed", "key": "op-1"})
    with pytest.raises(ContradictionError, match="tenant acme at 0: cause 'completed' is of a newer release; upgrade"):
        replay_of(evidence_of([state], [], 0, 1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"event_type": "sleep.nap.v1"}, "command type 'sleep.nap.v1'"),
        ({"code": "too_tired"}, "refusal code 'too_tired'"),
    ],
)
def test_an_audit_row_of_a_newer_release_asks_for_an_upgrade(change: dict[str, Any], words: str) -> None:
    """So does an audit row."""
    row = next(row for row in topic(apply_all(log_of(sleep("op-1"))).transitions) if b'"outcome"' in (row.value or b""))
    changed = json.dumps(json.loads(row.value or b"") | change).encode()
    with pytest.raises(
        ContradictionError, match=f"transitions topic 0:{row.offset}: {words} is of a newer release; upgrade"
    ):
        Audit(0, 0).read(Source(row.offset, T, row.key, changed))


def test_tenants_of_another_partition_count_are_named() -> None:
    """A partition count cannot change in place, and the message says what to do."""
    history = StatesHistory((partition_of("acme", 8) + 1) % 8, 8)
    stray = _state(position=f"{(partition_of('acme', 8) + 1) % 8}:0")
    with pytest.raises(ContradictionError, match=r"of 8, and belongs on \d.*sleepctl topics create"):
        history.read(stray)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"{", "no worker wrote this record"),
        (b"{}", "no worker wrote this record"),
        (b'{"position":"1:0"}', "transitions partition 0"),
    ],
)
def test_what_is_no_audit_row_is_named(value: bytes, words: str) -> None:
    """As with states."""
    with pytest.raises(ContradictionError, match=words):
        Audit(0, 0).read(Source(4, T, b"acme", value))


def test_a_tombstone_sent_by_hand_takes_a_foreign_record_away() -> None:
    """It has no position, and so says nothing of the log; rules go the same way."""
    history = StatesHistory(0, 1)
    history.read(_state())
    history.read(Source(1, T, b"acme", None, ()))
    history.read(Source(2, T, b"*rules:1", b'{"number":1,"position":"0:0","rules":{}}'))
    history.read(Source(3, T, b"*rules:1", None, ()))
    assert (history.tenants, len(history.rules())) == ({}, 1)
