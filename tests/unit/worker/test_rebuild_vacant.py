"""Tenants of which the states topic has nothing, where the log no longer reaches back to their beginning."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from schemas.wire.operation import OperationRecord
from tests.support.batches import TENANTS, Lane, apply_all, logs
from tests.support.events import breaker, cancel, mode, policy, sleep, timer
from tests.support.records import Source, source
from tests.support.times import DAY, HOUR, MINUTE, SECOND, T
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
from tests.unit.worker.verifications import commands, redis, verification

LATER = T + 3 * DAY
CANCELLED = [
    source(0, T, sleep("op-1", "deep", HOUR)),
    source(1, T + MINUTE, cancel("c-1", "op-1")),
    source(2, T + 2 * DAY, timer()),
    source(3, LATER, breaker("open", tenant="bolt")),
]
# The second event is stale for a fold that knows the first. Otherwise it opens a breaker, and the tenant retires later.
RETIRED = [
    source(0, T, breaker("closed", occurred_at=T)),
    source(1, T + MINUTE, breaker("open", occurred_at=T - 1)),
    source(2, T + 905 * SECOND, timer()),
    source(3, T + 905 * SECOND + DAY, timer()),
    source(4, LATER, breaker("open", tenant="bolt")),
]
# The last event happens at the clock of the one before, which published nothing.
RENEWED = [
    source(0, T, mode("m-1", "deep")),
    source(1, T + MINUTE, mode("m-2", "deep")),
    source(2, T + 1, sleep("op-1")),
]


def left(lane: Lane) -> list[Source]:
    """Return what compaction leaves of a lane's states once its tombstones are gone too."""
    return [record for record in compacted(topic(lane.states)) if record.value is not None]


def outcomes(operations: dict[tuple[str, str], OperationRecord]) -> dict[tuple[str, str], tuple[object, ...]]:
    """Return what came of commands."""
    return {
        key: (each.created_at, each.code, each.previous_state, each.state, each.cancelled_at)
        for key, each in operations.items()
    }


def in_redis(lane: Lane) -> dict[tuple[str, str], tuple[object, ...]]:
    """Return what came of commands by a lane's store."""
    return outcomes(lane.commands())


def differing(lane: Lane, log: Sequence[Source], states: Sequence[Source]) -> list[tuple[str | None, str, str]]:
    """Return what a verification of the log from 1 on names, each by its tenant, place and kind."""
    verified = verification(lane, log, start=1, states=states)
    differences = [*redis(verified, lane), *verified.states(), *commands(verified, lane)]
    return [(each.tenant, each.where, each.what) for each in differences]


def test_a_command_of_a_tenant_that_retired_stays_as_it_was_judged() -> None:
    """Its row tells, and so does that of the operation that it ended."""
    lane = apply_all(CANCELLED)
    again = rebuilt(evidence_of(left(lane), topic(lane.transitions), 1, 4, committed=4), CANCELLED)
    assert outcomes(again.operations) == in_redis(lane)


def test_a_tenant_that_retired_does_not_come_back() -> None:
    """Nor is anything of it sent to the topics."""
    lane = apply_all(RETIRED)
    again = rebuilt(evidence_of(left(lane), topic(lane.transitions), 1, 5, committed=5), RETIRED)
    assert again.records == records_of(lane)
    assert (again.states, again.transitions) == ([], [])


def test_a_tenant_that_retired_makes_no_difference() -> None:
    """Neither in Redis, nor on the states topic, nor in what is remembered of its commands."""
    for log in (CANCELLED, RETIRED):
        lane = apply_all(log)
        assert differing(lane, log, left(lane)) == []


def test_a_tenant_that_came_back_when_redis_was_looked_at_is_folded_from_there() -> None:
    """As it is when it is looked at again, where Redis stands then."""
    log = [*RETIRED, source(5, LATER, breaker("half_open"))]
    lane = apply_all(RETIRED)
    verified = verification(lane, log, start=1, states=left(lane), cut=5)
    verified.replay.read(log[5:])
    assert redis(verified, apply_all(log)) == []


def test_what_was_not_committed_is_folded_though_the_tenant_had_retired_before() -> None:
    """A worker died before it published anything of it, or after it had published a first state."""
    log = [*RETIRED[:4], source(4, LATER, breaker("half_open")), source(5, LATER, breaker("open", tenant="bolt"))]
    lane = apply_all(log)
    for states in (left(lane), [record for record in left(lane) if record.key == b"bolt"]):
        again = rebuilt(evidence_of(states, [], 1, 6, committed=4), log)
        assert again.records == records_of(lane)


def test_the_row_of_a_command_stands_where_the_fold_knows_an_older_clock() -> None:
    """What a renewal left unpublished was in the part of the log that is gone."""
    lane = apply_all(RENEWED)
    again = rebuilt(evidence_of(left(lane), topic(lane.transitions), 2, 3, committed=3), RENEWED)
    assert again.operations["acme", "op-1"].created_at == T + MINUTE
    assert outcomes(again.operations) == in_redis(lane)


def test_a_command_that_the_fold_judges_as_its_row_does_keeps_its_wording() -> None:
    """A row has none."""
    log = log_of(breaker("open"), breaker("open", tenant="bolt"), cancel("c-1", "op-1", tenant="bolt"))
    lane = apply_all(log)
    states = [record for record in topic(lane.states) if record.key == b"bolt"]
    again = rebuilt(evidence_of(states, topic(lane.transitions), 1, 3, committed=3), log)
    assert stored(again)["bolt", "c-1"] == lane.operation("bolt", "c-1")


def test_a_row_without_its_predecessor_does_not_give_the_state_before_it() -> None:
    """Whether that was a dry run is told by the former one; the fold from a state knows it."""
    log = [
        source(0, T, breaker("forced_open", "a@1")),
        source(1, T + 40 * DAY, breaker("half_open", "b@1")),
        source(2, T + 40 * DAY + SECOND, policy("p-1", {"enforce": False})),
        source(3, T + 40 * DAY + MINUTE, breaker("open", tenant="bolt")),
    ]
    lane = apply_all(log, [1, 2])
    rows = [record for record in topic(lane.transitions) if b'"position":"0:0"' not in (record.value or b"")]
    states = [record for record in topic(lane.states) if record.offset == 1]
    again = rebuilt(evidence_of(states, rows, 1, 4, committed=4), log)
    assert outcomes(again.operations) == in_redis(lane)


def test_a_tenant_with_a_policy_and_a_lost_state_is_folded_from_what_is_left() -> None:
    """It never retires; a verification says where it is missing."""
    log = log_of(
        breaker("open", tenant="bolt"), policy("p-1", {"ceiling": "light"}), breaker("half_open", tenant="bolt")
    )
    lane = apply_all(log)
    states = [record for record in topic(lane.states) if record.key == b"bolt"]
    assert rebuilt(evidence_of(states, topic(lane.transitions), 1, 3, committed=3), log).records == records_of(lane)
    assert differing(lane, log, states) == [("acme", "states", "is missing")]


def test_a_sleeping_tenant_with_a_lost_state_is_folded_from_what_is_left() -> None:
    """By its last row it slept, so that it cannot have retired; a verification says where it is missing."""
    log = log_of(breaker("open", tenant="bolt"), breaker("open"))
    lane = apply_all(log)
    states = [record for record in topic(lane.states) if record.key == b"bolt"]
    assert rebuilt(evidence_of(states, topic(lane.transitions), 1, 2, committed=2), log).records == records_of(lane)
    assert differing(lane, log, states) == [("acme", "states", "is missing")]


def test_a_tenant_whose_state_was_deleted_is_folded_from_what_is_left() -> None:
    """With what was not ours went what was."""
    log = log_of(breaker("open", tenant="bolt"), breaker("closed"))
    lane = apply_all(log)
    states = [*topic(lane.states), Source(2, T, b"acme", None, ())]
    assert rebuilt(evidence_of(states, topic(lane.transitions), 1, 2, committed=2), log).records == records_of(lane)


def test_a_tenant_whose_state_was_displaced_is_folded_from_what_is_left() -> None:
    """Compaction took the true one."""
    log = log_of(breaker("open", tenant="bolt"), breaker("closed"), breaker("half_open"))
    lane, other = apply_all(log[:2]), apply_all(log)
    what = evidence_of(left(other), topic(lane.transitions), 1, 2, committed=2)
    assert rebuilt(what, log[:2]).records == records_of(lane)


def test_a_tenant_that_moved_on_meanwhile_is_folded_from_what_is_left() -> None:
    """Compaction took its state from before the place at which Redis was looked at."""
    log = log_of(breaker("open", tenant="bolt"), breaker("closed"), breaker("half_open"))
    lane = apply_all(log[:2])
    verified = verification(lane, log, start=1, states=left(apply_all(log)), cut=2)
    assert redis(verified, lane) == []


def test_a_log_that_ends_before_what_was_committed_is_folded_from_its_start() -> None:
    """By force: it may be another log, whose events nobody has folded."""
    log = log_of(breaker("open", tenant="bolt"), breaker("closed"))
    again = rebuilt(evidence_of([], [], 1, 2, committed=9), log)
    assert again.records.keys() == {"acme"}


@given(logs(), st.integers(1, 40))
def test_a_tombstone_that_is_gone_makes_no_tenant_of_nothing(log: list[Source], cut: int) -> None:
    """Wherever the log begins, each command came to what it came to and no record is there that was not."""
    last = log[-1]
    for number, tenant in enumerate(TENANTS * 2, start=1):
        log.append(source(last.offset + number, last.timestamp + number * DAY, timer(tenant=tenant)))
    lane = apply_all(log)
    remaining, end = log[min(cut, len(log)) :], log[-1].offset + 1
    start = remaining[0].offset if remaining else end
    again = rebuilt(evidence_of(left(lane), topic(lane.transitions), start, end, committed=end), remaining)
    assert again.records.keys() == lane.packed.keys()
    came, there = outcomes(again.operations), in_redis(lane)
    assert {key: came[key][:4] for key in there if key in came} == {key: there[key][:4] for key in there if key in came}
    assert_the_same_commands(again, lane, start)
