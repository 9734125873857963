"""Rebuilding: from what a lane published and the log behind it come the lane's own records again."""

import json
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from schemas.operation import OperationRecord
from schemas.record import Record
from schemas.state import SleepState
from tests.unit.worker.batches import apply_all, failing_at, logs
from tests.unit.worker.build import HOUR, Source, T, breaker, cancel, mode, policy, rules, sleep, source
from tests.unit.worker.rebuilds import compacted, found, log_of, rebuilt, records_of, topic


def worded(operations: dict[tuple[str, str], OperationRecord]) -> dict[tuple[str, str], OperationRecord]:
    """Return operations without the wording of a refusal, which is kept in Redis alone."""
    return {key: operation._replace(detail=None) for key, operation in operations.items()}


def as_shown(record: Record) -> Record:
    """Return a record without what may be older where a renewal was not published."""
    claims = {key: claim._replace(occurred_at=None) for key, claim in record.claims.items()}
    return record._replace(claims=claims, clock=0, rules_number=0)


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


def test_a_policy_change_that_enforces_again_is_remembered_with_the_state_before_it() -> None:
    """A row says whether the policy enforces after the event; what it did before, the rows before it say."""
    log = log_of(breaker("open"), policy("p-1", {"enforce": False}), policy("p-2", None), sleep("op-1"))
    lane = apply_all(log)
    again = rebuilt(found(topic(lane.states), topic(lane.transitions), 0, 4), log)
    states = {key[1]: (operation.previous_state, operation.state) for key, operation in again.operations.items()}
    assert states["p-1"] == (SleepState.freeze, SleepState.active)
    assert states["p-2"] == (SleepState.active, SleepState.freeze)
