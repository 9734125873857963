"""Rebuilding: from what a lane published and the log behind it come the lane's own records again."""

import json
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from schemas.domain.record import Record
from schemas.domain.state import SleepState
from schemas.wire.state_record import parse_state_record
from tests.support.batches import Lane, apply_all, boundaries, failing_at, logs
from tests.support.events import breaker, cancel, mode, policy, rules, sleep
from tests.support.records import Source, source
from tests.support.times import HOUR, MINUTE, T
from tests.unit.worker.rebuilds import (
    assert_the_same_commands,
    compacted,
    evidence_of,
    log_of,
    rebuilt,
    records_of,
    stored,
    topic,
)


def as_shown(record: Record) -> Record:
    """Return a record without what may be older where a renewal was not published."""
    claims = {key: structs.replace(claim, occurred_at=None) for key, claim in record.claims.items()}
    return structs.replace(record, claims=claims, clock=0, rules_number=0)


def test_states_between_the_group_offset_and_the_log_start_count() -> None:
    """The group's offset is committed once a second, and may not be at all; nobody can fold what is gone."""
    log = log_of(breaker("open"), breaker("half_open"), breaker("open", tenant="globex"))
    lane = apply_all(log)
    again = rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), start=2, end=3, committed=1), log)
    assert again.records == records_of(lane)


@given(logs(), st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_with_the_whole_log_everything_is_as_it_was(log: list[Source], at: list[int], compacts: bool) -> None:  # noqa: FBT001
    """Records to the last field, commands, rules; nothing is missing on the topics."""
    lane = apply_all(log, at)
    states = compacted(topic(lane.states)) if compacts else topic(lane.states)
    end = log[-1].offset + 1
    again = rebuilt(evidence_of(states, topic(lane.transitions), log[0].offset, end, committed=end), log)
    assert again.records == records_of(lane)
    operations = lane.commands()
    assert stored(again) == operations
    assert [version.document for version in again.rules] == [version.document for version in lane.rules]
    assert (again.next, again.timestamp) == (end, log[-1].timestamp)
    assert (again.states, again.transitions, again.dead_letters) == ([], [], [])


@given(logs(), st.integers(0, 40), st.lists(st.integers(0, 40), max_size=6))
def test_where_the_log_no_longer_reaches_back_what_is_shown_is_as_it_was(
    log: list[Source], cut: int, at: list[int]
) -> None:
    """A clock or the time of a breaker's event may be older, since a renewal is not published."""
    lane = apply_all(log, at)
    remaining, end = log[min(cut, len(log)) :], log[-1].offset + 1
    start = remaining[0].offset if remaining else end
    states = compacted(topic(lane.states))
    again = rebuilt(evidence_of(states, topic(lane.transitions), start, end, committed=end), remaining)
    assert {tenant: as_shown(record) for tenant, record in again.records.items()} == {
        tenant: as_shown(record) for tenant, record in records_of(lane).items()
    }
    assert_the_same_commands(again, lane, start)


class Died(NamedTuple):
    """What a worker left that died within a commit.

    Attributes:
        states, rows: what its topics hold, a part of that commit's included.
        committed: what the group says was applied.
        commit: where the commit began, as an index of the log.
    """

    states: list[Source]
    rows: list[Source]
    committed: int
    commit: int


@st.composite
def deaths(draw: st.DrawFn, log: list[Source]) -> Died:
    """Draw a death: the group may lag, and its offset may lie within a commit, since fetched batches end there."""
    commits = list(boundaries(log, draw(st.lists(st.integers(0, 40), max_size=6))))
    number = draw(st.integers(0, len(commits)))
    first = commits[number][0] if number < len(commits) else len(log)
    lane = Lane()
    for start, end in commits[:number]:
        lane.apply(log[start:end])
    states_before, rows_before = len(lane.states), len(lane.transitions)
    if number < len(commits):
        lane.apply(log[slice(*commits[number])])
    states = topic(lane.states)[: draw(st.integers(states_before, len(lane.states)))]
    rows = topic(lane.transitions)[: draw(st.integers(rows_before, len(lane.transitions)))]
    settled = draw(st.one_of(st.just(first), st.integers(0, first)))
    committed = log[settled].offset if settled < len(log) else log[-1].offset + 1
    if draw(st.booleans()):  # It does not come to what was sent just now.
        states = [*compacted(states[:states_before]), *states[states_before:]]
    return Died(states, rows, committed, first)


@given(logs(most=20), st.data())
def test_what_a_dying_worker_did_not_get_acknowledged_is_sent(log: list[Source], data: st.DataObject) -> None:
    """Of its last commit each topic has a part; afterwards it has all of what was applied, each row once."""
    died = data.draw(deaths(log))
    again = rebuilt(evidence_of(died.states, died.rows, log[0].offset, log[-1].offset + 1, died.committed), log)
    applied = apply_all([record for record in log if record.offset < again.next])
    assert again.records == records_of(applied)
    operations = applied.commands()
    assert stored(again) == operations
    sent = [row.value for row in died.rows] + [row.value for row in again.transitions]
    assert sent == [row.value for row in applied.transitions]
    last = {record.key: record.value for record in died.states}
    last |= {output.key: output.value for output in again.states}
    assert last == {output.key: output.value for output in applied.states}


def at_most_an_hour_back(log: list[Source]) -> list[Source]:
    """Return a log whose timestamps go back by an hour at most; behind more, `Rebuild.highest` matters."""
    highest = accumulate((record.timestamp for record in log), max)
    return [
        replace(record, timestamp=max(record.timestamp, most - HOUR)) for record, most in zip(log, highest, strict=True)
    ]


@given(logs(most=20).map(at_most_an_hour_back), st.data())
def test_what_the_log_lost_meanwhile_is_in_the_states(log: list[Source], data: st.DataObject) -> None:
    """Of a commit that a worker has published a part of, and of one that the log's start or the group's offset cut."""
    died = data.draw(deaths(log))
    cut = data.draw(st.integers(0, died.commit))
    lost, remaining = log[:cut], log[cut:]
    end = log[-1].offset + 1
    start = remaining[0].offset if remaining else end
    again = rebuilt(evidence_of(died.states, died.rows, start, end, died.committed), remaining)
    applied = apply_all([record for record in log if record.offset < again.next])
    untold = older_in_their_states(lost) | repeated_without_a_row(lost, applied, died)
    records, lanes = again.records, records_of(applied)
    assert {tenant: as_shown(records[tenant]) for tenant in records.keys() - untold} == {
        tenant: as_shown(lanes[tenant]) for tenant in lanes.keys() - untold
    }
    last = {record.key: record.value for record in died.states}
    last |= {output.key: output.value for output in again.states}
    shown = {key: shown_of(value) for key, value in last.items()}
    names = {tenant.encode() for tenant in untold}
    published = {output.key: shown_of(output.value) for output in applied.states}
    assert {key: shown[key] for key in shown.keys() - names} == {
        key: published[key] for key in published.keys() - names
    }


def older_in_their_states(lost: list[Source]) -> set[str]:
    """Return the tenants whose last state does not show all that the lost events led to, since a renewal came behind.

    The contract allows that. Their later events may be folded onto an older clock or `occurred_at`.
    """
    lane = apply_all(lost)
    states = {output.key: output.value for output in lane.states}
    return {
        tenant
        for tenant, record in records_of(lane).items()
        if structs.replace(parse_state_record(json.loads(states[tenant.encode()] or b"")), rules_number=0)
        != structs.replace(record, rules_number=0)
    }


def repeated_without_a_row(lost: list[Source], applied: Lane, died: Died) -> set[str]:
    """Return the tenants that repeated an operation from the lost events, where no row that is left says so.

    Its TTL is gone with it, so that it may be forgotten sooner, and the repeat taken for a new one.
    """
    operations = {key for key, operation in apply_all(lost).commands().items() if operation.type == "operation"}
    rows = [json.loads(row.value or b"") for row in applied.transitions[len(died.rows) :]]
    repeats = [row for row in rows if row["code"] in ("duplicate_operation", "idempotency_conflict")]
    return {row["tenant"] for row in repeats if (row["tenant"], row["operation_id"]) in operations}


def shown_of(value: bytes | None) -> object:
    """Return a state without what may be older where a renewal was not published."""
    document = json.loads(value or b"null")
    if document is None or "claims" not in document:
        return document
    claims = [{**claim, "occurred_at": None} for claim in document["claims"]]
    return {**document, "claims": claims, "clock": 0, "rules_number": 0}


def test_a_tenant_new_in_a_commit_that_the_group_offset_cuts_is_folded_whole() -> None:
    """The topic has the last state of the commit alone, and the log no longer reaches back."""
    log = [*log_of(breaker("open", tenant="bolt"), breaker("open", "a@1"), breaker("open", "b@1"), sleep("op-1"))]
    lane = apply_all(log, [1])
    rows = topic(lane.transitions)
    again = rebuilt(evidence_of(topic(lane.states), rows[:-1], start=1, end=4, committed=2), log[1:])
    assert again.records == records_of(lane)
    assert [row.value for row in again.transitions] == [rows[-1].value]


def test_where_the_log_begins_within_a_commit_its_state_counts() -> None:
    """What the earlier state and the log lack of it is in the later state."""
    log = log_of(breaker("open", "a@1"), breaker("open", "b@1"), breaker("open", "c@1"), breaker("half_open", "a@1"))
    lane = apply_all(log, [1])
    again = rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), start=2, end=4, committed=1), log[2:])
    assert again.records == records_of(lane)
    assert (again.states, again.transitions) == ([], [])


def test_what_a_rebuild_sends_of_a_new_tenant_says_so_too() -> None:
    """A second rebuild, after the first one died, sends the rows that are missing still."""
    log = log_of(breaker("open"), breaker("half_open"), breaker("open", tenant="bolt"), breaker("closed"))
    lane = apply_all(log)
    rows = topic(lane.transitions)
    first = rebuilt(evidence_of(topic(lane.states)[:1], [], start=0, end=4, committed=0), log)
    states = [*topic(lane.states)[:1], *topic(first.states)]
    assert [dict(state.headers).get("sleep.new") for state in first.states] == [b"0:0"]
    second = rebuilt(evidence_of(compacted(states), [], start=0, end=4, committed=0), log)
    assert [row.value for row in second.transitions] == [row.value for row in rows[: len(second.transitions)]] != []


def test_a_header_without_a_position_counts_for_any() -> None:
    """Whoever wrote it."""
    log = log_of(breaker("open"), breaker("half_open"))
    lane = apply_all(log)
    states = [replace(state, headers=(("sleep.new", b""),)) for state in topic(lane.states)]
    again = rebuilt(evidence_of(states, [], start=0, end=2, committed=0), log)
    assert again.records == records_of(lane)
    assert [row.value for row in again.transitions] == [row.value for row in lane.transitions]


def test_a_stale_late_append_changes_nothing() -> None:
    """Its position is below the one that was there, and so it is passed over, as any reader does."""
    log = log_of(breaker("open"), breaker("closed"), breaker("open"))
    lane = apply_all(log)
    states = topic(lane.states)
    again = rebuilt(evidence_of([*states, *states[:2]], topic(lane.transitions), 3, 3, committed=3), [])
    assert again.records == records_of(lane)


def test_an_operation_that_was_cancelled_stays_so() -> None:
    """Also where a worker sent the audit of both twice."""
    log = log_of(sleep("op-1"), cancel("c-1", "op-1"), sleep("op-2"))
    lane = apply_all(log)
    rows = topic(lane.transitions)
    again = rebuilt(evidence_of(topic(lane.states), [*rows, *rows], 0, 3, committed=3), log)
    operations = lane.commands()
    assert stored(again) == operations
    assert again.operations["acme", "op-1"].cancelled_at == T + 10


def test_a_reused_id_is_the_earlier_command_until_the_log_reaches_the_later() -> None:
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
    again = rebuilt(evidence_of(states, rows, 0, 3, committed=1), log)
    assert again.records == records_of(lane)
    assert again.transitions == []


def test_an_id_that_came_again_when_it_was_forgotten_is_the_later_command() -> None:
    """And what was sent of the earlier one a second time does not take its place."""
    log = log_of(sleep("op-1", "deep", 5), sleep("op-1", "light", 5), step=2 * HOUR)
    lane = apply_all(log)
    rows = topic(lane.transitions)
    again = rebuilt(evidence_of(topic(lane.states), [*rows, *rows], 0, 2, committed=2), log)
    assert again.operations["acme", "op-1"].target_state is SleepState.light


def test_a_refused_repeat_is_refused_again_where_the_log_lost_the_operation() -> None:
    """It came an hour after the operation began, and not an hour after its end; the repeat's row tells so."""
    asked = sleep("op-1", "deep", 30 * MINUTE)
    log = log_of(asked, mode("m-1", "light"), asked, step=40 * MINUTE)
    lane = apply_all(log)
    rows = topic(lane.transitions)
    assert json.loads(rows[-1].value or b"")["code"] == "duplicate_operation"
    again = rebuilt(evidence_of(topic(lane.states), rows, start=1, end=3, committed=3), log[1:])
    assert again.records == records_of(lane)


def test_a_command_is_what_its_row_tells_where_the_policy_before_it_is_gone() -> None:
    """The log begins within the commit in which the tenant was new; what is judged next goes by the row too."""
    asked = sleep("op-1", "deep", HOUR)
    log = log_of(policy("p-1", {"max_ttl_seconds": 1}), asked, asked, mode("m-1", "light", 1000))
    lane = apply_all(log)
    again = rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), start=1, end=4, committed=0), log[1:])
    assert again.records == records_of(lane)
    assert again.operations["acme", "op-1"].code == "ttl_out_of_range"


def test_dead_letters_that_may_not_have_been_sent_are_sent() -> None:
    """Those behind what the group says was applied; the others were acknowledged before it said so."""
    log = log_of(breaker("open"), breaker("open"), breaker("closed"))
    log[0].value = log[1].value = b"{"
    lane = apply_all(log)
    again = rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 0, 3, committed=1), log)
    assert [dict(letter.headers)["sleep.error.offset"] for letter in again.dead_letters] == [b"1"]
    assert again.records == records_of(lane)


def test_a_dead_lettered_record_is_skipped_by_a_version_that_could_fold_it() -> None:
    """The lane went on without it, and so did all that was published since."""
    log = log_of(breaker("open"), mode("m-1", "deep"), breaker("half_open", tenant="globex"))
    with failing_at(1):
        lane = apply_all(log)
    what = evidence_of(topic(lane.states), topic(lane.transitions), 0, 3, committed=3, dead_letters=lane.dead_letters)
    again = rebuilt(what, log)
    assert again.records == records_of(lane)
    assert again.operations == {}


def test_a_dead_letter_that_is_there_is_not_sent_again() -> None:
    """The worker died before it committed, and everything was acknowledged."""
    log = log_of(breaker("open"), breaker("half_open"), breaker("closed"))
    with failing_at(1):
        lane = apply_all(log)
    again = rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 0, 3, 1, lane.dead_letters), log)
    assert again.records == records_of(lane)
    assert (again.states, again.transitions, again.dead_letters) == ([], [], [])


def test_rules_that_were_set_aside_are_passed_over() -> None:
    """Those behind them have the number that they had."""
    log = log_of(rules({"retire_after_seconds": 60}), breaker("open"), rules({"retire_after_seconds": 61}))
    with patch("worker.fold.piece.parse_rules", side_effect=ZeroDivisionError):
        lane = apply_all(log[:1])
    lane.apply(log[1:])
    what = evidence_of(topic(lane.states), topic(lane.transitions), 0, 3, committed=3, dead_letters=lane.dead_letters)
    assert [version.document for version in rebuilt(what, log).rules] == [version.document for version in lane.rules]


def test_a_record_that_was_folded_after_all_is_folded() -> None:
    """A worker set it aside and died before its commit; what a mended one published names the position."""
    log = log_of(breaker("open"), mode("m-1", "deep"))
    with failing_at(1):
        died = apply_all(log)
    lane = apply_all(log)
    what = evidence_of(topic(lane.states), topic(lane.transitions), 0, 2, committed=1, dead_letters=died.dead_letters)
    again = rebuilt(what, log)
    assert again.records == records_of(lane)
    assert again.operations.keys() == {("acme", "m-1")}


def test_what_was_not_applied_is_left_to_the_workers() -> None:
    """A rebuild restores; it does not run ahead."""
    log = log_of(breaker("open"), breaker("closed"), sleep("op-1"))
    lane = apply_all(log[:1])
    again = rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 0, 3), log)
    assert (again.next, again.records) == (1, records_of(lane))


def test_a_live_operation_whose_command_is_gone_keeps_its_target_and_its_end() -> None:
    """Its claim tells both; a cancel still finds it."""
    log = log_of(sleep("op-1", "deep", HOUR), mode("m-1", "light"), cancel("c-1", "op-2"))
    lane = apply_all(log)
    again = rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 3, 3, committed=3), [])
    operation = again.operations["acme", "op-1"]
    assert (operation.target_state, operation.expires_at) == (SleepState.deep, T + HOUR)
    assert again.operations["acme", "c-1"].code == "not_running"
    assert again.operations["acme", "m-1"].status(T) == "completed"


def test_a_policy_change_that_enforces_again_has_the_state_before_it() -> None:
    """A row says whether the policy enforces after the event; what it did before, the rows before it say."""
    log = log_of(breaker("open"), policy("p-1", {"enforce": False}), policy("p-2", None), sleep("op-1"))
    lane = apply_all(log)
    again = rebuilt(evidence_of(topic(lane.states), topic(lane.transitions), 0, 4), log)
    states = {key[1]: (operation.previous_state, operation.state) for key, operation in again.operations.items()}
    assert states["p-1"] == (SleepState.freeze, SleepState.active)
    assert states["p-2"] == (SleepState.active, SleepState.freeze)


def test_a_repeat_that_the_worker_recognised_is_recognised_again() -> None:
    """The repeat is the only sign that its original, which the log no longer has, ended after it was judged."""
    before = T - 2 * HOUR
    documents = [
        (T, breaker("open", tenant="globex")),
        (before, breaker("open")),
        (before, sleep("op-1", "light", 1)),
        (before + 1, breaker("open")),
        (before + 1, mode("op-1", "light")),
    ]
    log = [source(offset, at, document) for offset, (at, document) in enumerate(documents)]
    lane = apply_all(log)
    states = compacted(topic(lane.states))
    again = rebuilt(evidence_of(states, topic(lane.transitions), 3, 5, committed=5), log[3:])
    assert as_shown(again.records["acme"]) == as_shown(records_of(lane)["acme"])
