"""Rebuilding: from what a lane published and the log behind it come the lane's own records again."""

import json
from collections.abc import Sequence
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.operation import OperationRecord
from schemas.partition import partition_of
from schemas.record import Record
from schemas.state import SleepState
from tests.unit.worker.batches import Lane, apply_all, failing_at, logs
from tests.unit.worker.build import (
    HOUR,
    MINUTE,
    Document,
    Source,
    T,
    breaker,
    cancel,
    mode,
    policy,
    rules,
    sleep,
    source,
)
from worker.ports import Output
from worker.recovery.aside import SetAside
from worker.recovery.audit import Audit
from worker.recovery.history import History, ImpossibleError
from worker.recovery.rebuild import Found, OtherLogError, Rebuild, Rebuilt, settled_before
from worker.recovery.redrive import DeadLetter

LATER = T * 2


def topic(outputs: Sequence[Output]) -> list[Source]:
    """Return outputs as the records of a topic."""
    return [Source(offset, T, key, value, headers) for offset, (key, value, headers) in enumerate(outputs)]


def compacted(records: Sequence[Source]) -> list[Source]:
    """Return what compaction leaves: the last record of each key, tombstones among them."""
    last = {record.key: record for record in records}
    return [record for record in records if last[record.key] is record]


def found(
    states: Sequence[Source],
    rows: Sequence[Source],
    start: int,
    end: int,
    committed: int | None = None,
    letters: Sequence[Output] = (),
) -> Found:
    """Return what is found of a partition with these topics."""
    aside = set_aside(letters)
    history = History(0, 1, settled=settled_before(start, committed), aside=aside)
    audit = Audit(0, max(start, committed or 0), aside)
    for record in states:
        history.read(record)
    for record in rows:
        audit.read(record)
    return Found(history, audit, start, end, committed, aside)


def set_aside(letters: Sequence[Output]) -> SetAside:
    """Return what was set aside, by its dead letters."""
    aside = SetAside(0, 1)
    for record in topic(letters):
        aside.read(record, DeadLetter.of(record))
    return aside


def rebuilt(what: Found, log: Sequence[Source], *, other_log: bool = False, cut: bool = False) -> Rebuilt:
    """Return what a rebuild makes of it."""
    rebuild = Rebuild(0, 1, what, other_log=other_log, cut=cut)
    read = [record for record in log if rebuild.start <= record.offset < rebuild.next]
    for number in range(0, len(read), 7):
        rebuild.read(read[number : number + 7])
    return rebuild.finished(LATER)


def records_of(lane: Lane) -> dict[str, Record]:
    """Return the records of a lane."""
    pairs = ((tenant, lane.record(tenant)) for tenant in lane.packed)
    return {tenant: record for tenant, record in pairs if record is not None}


def worded(operations: dict[tuple[str, str], OperationRecord]) -> dict[tuple[str, str], OperationRecord]:
    """Return operations without the wording of a refusal, which is kept in Redis alone."""
    return {key: operation._replace(detail=None) for key, operation in operations.items()}


def as_shown(record: Record) -> Record:
    """Return a record without what may be older where a renewal was not published."""
    claims = {key: claim._replace(occurred_at=None) for key, claim in record.claims.items()}
    return record._replace(claims=claims, clock=0, rules_number=0)


def log_of(*documents: Document, step: int = 10) -> list[Source]:
    """Return a log from offset 0 on, an event every 10 ms."""
    return [source(offset, T + step * offset, document) for offset, document in enumerate(documents)]


def test_where_the_log_begins_behind_what_the_group_says_the_states_from_between_count() -> None:
    """The group's offset is committed once a second, and may not be at all; nobody can fold what is gone."""
    log = log_of(breaker("open"), breaker("half_open"), breaker("open", tenant="globex"))
    lane = apply_all(log)
    again = rebuilt(found(topic(lane.states), topic(lane.transitions), start=2, end=3, committed=1), log)
    assert again.records == records_of(lane)


@given(logs(), st.booleans())
def test_with_the_whole_log_everything_is_as_it_was(log: list[Source], compacts: bool) -> None:  # noqa: FBT001
    """Records to the last field, commands but for a refusal's wording, rules; nothing is missing on the topics."""
    lane = apply_all(log)
    states = compacted(topic(lane.states)) if compacts else topic(lane.states)
    end = log[-1].offset + 1
    again = rebuilt(found(states, topic(lane.transitions), log[0].offset, end, committed=end), log)
    assert again.records == records_of(lane)
    operations = {key: OperationRecord.unpack(packed) for key, packed in lane.operations.items()}
    assert worded(again.operations) == worded(operations)
    assert [version.document for version in again.rules] == [version.document for version in lane.rules]
    assert (again.next, again.timestamp) == (end, log[-1].timestamp)
    assert (again.states, again.transitions, again.dead_letters) == ([], [], [])


@given(logs(), st.integers(0, 40))
def test_where_the_log_no_longer_reaches_back_what_is_shown_is_as_it_was(log: list[Source], cut: int) -> None:
    """A clock or the time of a breaker's event may be older, since a renewal is not published."""
    lane = apply_all(log)
    kept, end = log[min(cut, len(log)) :], log[-1].offset + 1
    start = kept[0].offset if kept else end
    states = compacted(topic(lane.states))
    again = rebuilt(found(states, topic(lane.transitions), start, end, committed=end), kept)
    assert {tenant: as_shown(record) for tenant, record in again.records.items()} == {
        tenant: as_shown(record) for tenant, record in records_of(lane).items()
    }
    assert again.operations.keys() == lane.operations.keys()


@given(logs(), st.data())
def test_what_a_dying_worker_did_not_get_acknowledged_is_sent(log: list[Source], data: st.DataObject) -> None:
    """Of its last batch each topic has a part; afterwards it has all of what was applied, each row once."""
    settled = data.draw(st.integers(0, len(log)))
    before, lane = apply_all(log[:settled]), apply_all(log)
    states = topic(lane.states)[: data.draw(st.integers(len(before.states), len(lane.states)))]
    rows = topic(lane.transitions)[: data.draw(st.integers(len(before.transitions), len(lane.transitions)))]
    committed = log[settled].offset if settled < len(log) else log[-1].offset + 1
    again = rebuilt(found(states, rows, log[0].offset, log[-1].offset + 1, committed), log)
    applied = apply_all([record for record in log if record.offset < again.next])
    assert again.records == records_of(applied)
    operations = {key: OperationRecord.unpack(packed) for key, packed in applied.operations.items()}
    assert worded(again.operations) == worded(operations)
    sent = [row.value for row in rows] + [row.value for row in again.transitions]
    assert sent == [row.value for row in applied.transitions]
    last = {output.key: output.value for output in [*lane.states[: len(states)], *again.states]}
    assert last == {output.key: output.value for output in applied.states}


def test_a_stale_late_append_changes_nothing() -> None:
    """Its position is below the one that was there, and so it is passed over, as any reader does."""
    log = log_of(breaker("open"), breaker("closed"), breaker("open"))
    lane = apply_all(log)
    states = topic(lane.states)
    again = rebuilt(found([*states, *states[:2]], topic(lane.transitions), 3, 3, committed=3), [])
    assert again.records == records_of(lane)


def test_an_operation_that_was_cancelled_stays_so() -> None:
    """Also where a worker sent the audit of both twice."""
    log = log_of(sleep("op-1"), cancel("c-1", "op-1"), sleep("op-2"))
    lane = apply_all(log)
    rows = topic(lane.transitions)
    again = rebuilt(found(topic(lane.states), [*rows, *rows], 0, 3, committed=3), log)
    operations = {key: OperationRecord.unpack(packed) for key, packed in lane.operations.items()}
    assert again.operations == operations
    assert again.operations["acme", "op-1"].cancelled_at == T + 10


def test_an_id_that_came_again_is_known_as_the_earlier_command_until_the_log_comes_to_the_later() -> None:
    """The audit of both is there, and the states only up to the first: what lies between is judged by the first."""
    log = [
        *log_of(sleep("op-1", "deep", 5), sleep("op-1", "freeze", 5)),
        source(2, T + 2 * HOUR, sleep("op-1", "light", 5)),
    ]
    lane = apply_all(log)
    rows, states = topic(lane.transitions), topic(lane.states)[:1]
    assert [json.loads(row.value or b"")["code"] for row in rows if b'"refusal"' in (row.value or b"")] == [
        "idempotency_conflict"
    ]
    again = rebuilt(found(states, rows, 0, 3, committed=1), log)
    assert again.records == records_of(lane)
    assert again.transitions == []


def test_an_id_that_came_again_when_it_was_forgotten_is_the_later_command() -> None:
    """And what was sent of the earlier one a second time does not take its place."""
    log = log_of(sleep("op-1", "deep", 5), sleep("op-1", "light", 5), step=2 * HOUR)
    lane = apply_all(log)
    rows = topic(lane.transitions)
    again = rebuilt(found(topic(lane.states), [*rows, *rows], 0, 2, committed=2), log)
    assert again.operations["acme", "op-1"].target_state is SleepState.light


def test_dead_letters_that_may_not_have_been_sent_are_sent() -> None:
    """Those behind what the group says was applied; the others were acknowledged before it said so."""
    log = log_of(breaker("open"), breaker("open"), breaker("closed"))
    log[0].value = log[1].value = b"{"
    lane = apply_all(log)
    again = rebuilt(found(topic(lane.states), topic(lane.transitions), 0, 3, committed=1), log)
    assert [dict(letter.headers)["sleep.error.offset"] for letter in again.dead_letters] == [b"1"]
    assert again.records == records_of(lane)


def test_a_record_that_was_set_aside_is_passed_over_by_a_version_that_could_fold_it() -> None:
    """The lane went on without it, and so did all that was published since."""
    log = log_of(breaker("open"), mode("m-1", "deep"), breaker("half_open", tenant="globex"))
    with failing_at(1):
        lane = apply_all(log)
    what = found(topic(lane.states), topic(lane.transitions), 0, 3, committed=3, letters=lane.dead_letters)
    again = rebuilt(what, log)
    assert again.records == records_of(lane)
    assert again.operations == {}


def test_a_dead_letter_that_is_there_is_not_sent_again() -> None:
    """The worker died before it committed, and everything was acknowledged."""
    log = log_of(breaker("open"), breaker("half_open"), breaker("closed"))
    with failing_at(1):
        lane = apply_all(log)
    again = rebuilt(found(topic(lane.states), topic(lane.transitions), 0, 3, 1, lane.dead_letters), log)
    assert again.records == records_of(lane)
    assert (again.states, again.transitions, again.dead_letters) == ([], [], [])


def test_rules_that_were_set_aside_are_passed_over() -> None:
    """Those behind them have the number that they had."""
    log = log_of(rules({"retire_after_seconds": 60}), breaker("open"), rules({"retire_after_seconds": 61}))
    with patch("worker.batch.parse_rules", side_effect=ZeroDivisionError):
        lane = apply_all(log[:1])
    lane.apply(log[1:])
    what = found(topic(lane.states), topic(lane.transitions), 0, 3, committed=3, letters=lane.dead_letters)
    assert [version.document for version in rebuilt(what, log).rules] == [version.document for version in lane.rules]


def test_a_record_that_was_folded_after_all_is_folded() -> None:
    """A worker set it aside and died before its commit; what a mended one published names the position."""
    log = log_of(breaker("open"), mode("m-1", "deep"))
    with failing_at(1):
        died = apply_all(log)
    lane = apply_all(log)
    what = found(topic(lane.states), topic(lane.transitions), 0, 2, committed=1, letters=died.dead_letters)
    again = rebuilt(what, log)
    assert again.records == records_of(lane)
    assert again.operations.keys() == {("acme", "m-1")}


def test_what_was_not_applied_is_left_to_the_workers() -> None:
    """A rebuild restores; it does not run ahead."""
    log = log_of(breaker("open"), breaker("closed"), sleep("op-1"))
    lane = apply_all(log[:1])
    again = rebuilt(found(topic(lane.states), topic(lane.transitions), 0, 3), log)
    assert (again.next, again.records) == (1, records_of(lane))


def test_a_live_operation_whose_command_is_gone_keeps_its_target_and_its_end() -> None:
    """Its claim tells both; a cancel still finds it."""
    log = log_of(sleep("op-1", "deep", HOUR), mode("m-1", "light"), cancel("c-1", "op-2"))
    lane = apply_all(log)
    again = rebuilt(found(topic(lane.states), topic(lane.transitions), 3, 3, committed=3), [])
    operation = again.operations["acme", "op-1"]
    assert (operation.target_state, operation.expires_at) == (SleepState.deep, T + HOUR)
    assert again.operations["acme", "c-1"].code == "not_running"
    assert again.operations["acme", "m-1"].status(T) == "completed"


def test_a_log_that_ends_before_what_was_applied_is_refused() -> None:
    """The message says what it takes; by force the states stand, and no record is of an offset yet to come."""
    log = log_of(*[breaker(state) for state in ("open", "closed", "open", "half_open")])
    lane = apply_all(log)
    what = found(topic(lane.states), topic(lane.transitions), 0, 2)
    with pytest.raises(OtherLogError, match=r"4 records were applied and the log ends at 2.*rebuild --force"):
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


def test_a_policy_change_that_enforces_again_is_remembered_with_the_state_before_it() -> None:
    """A row says whether the policy enforces after the event; what it did before, the rows before it say."""
    log = log_of(breaker("open"), policy("p-1", {"enforce": False}), policy("p-2", None), sleep("op-1"))
    lane = apply_all(log)
    again = rebuilt(found(topic(lane.states), topic(lane.transitions), 0, 4), log)
    states = {key[1]: (operation.previous_state, operation.state) for key, operation in again.operations.items()}
    assert states["p-1"] == (SleepState.freeze, SleepState.active)
    assert states["p-2"] == (SleepState.active, SleepState.freeze)
