"""Properties of the fold over whole logs: all types of events, several tenants, changes of rules, wild times."""

from collections.abc import Iterable
from itertools import accumulate

from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.domain.policy import Terms
from schemas.wire.events import CommandEvent
from schemas.wire.operation import forgotten_until
from schemas.wire.state_record import NEW_HEADER
from tests.support.batches import TENANTS, Lane, apply_all, boundaries, logs, values
from tests.support.events import Document, timer
from tests.support.invariants import (
    assert_answered,
    assert_bounded,
    assert_fold,
    assert_isolated,
    assert_monotone,
    assert_once,
    assert_reversible,
)  # fmt: skip
from tests.support.records import Source, source
from tests.support.reference import Reference
from tests.support.times import HOUR
from tests.unit.worker.compared_tenant import remembered, without_decision
from worker.ports import OperationKey, Output

cuts = st.lists(st.integers(0, 40), max_size=6)


def referred(log: list[Source]) -> Reference:
    """Fold a log the slow way."""
    reference = Reference()
    for record in log:
        reference.read(record, 1)
    return reference


def terms_of(lane: Lane, tenant: str) -> Terms:
    """Return the terms that a tenant was last folded under."""
    record = lane.record(tenant)
    assert record is not None
    return lane.rules[record.rules_number].terms_for(record.policy)


def last_of_each(states: Iterable[Output]) -> dict[bytes | None, tuple[bytes | None, list[tuple[str, bytes]]]]:
    """Return the last state of each key, but for the header that tells of its commit."""
    return {key: (value, [item for item in headers if item[0] != NEW_HEADER]) for key, value, headers in states}


def still_counting(lane: Lane) -> dict[OperationKey, bytes]:
    """Return the commands that are not forgotten yet. When the store lets go the others depends on its commits."""
    forgotten = forgotten_until(lane.highest)
    return {key: lane.operations[key] for key, command in lane.commands().items() if command.finished_at > forgotten}


def assert_last_of_each_commit(lane: Lane, reference: Reference, log: list[Source], at: Iterable[int]) -> None:
    """Rules go first; then of each tenant the last state of each commit, by position, and whether it was new."""
    expected: list[tuple[str, Document | None, bool]] = []
    one = Reference()
    for start, end in boundaries(log, at):
        known, before = set(one.tenants), len(one.states)
        for record in log[start:end]:
            one.read(record, 1)
        last: dict[str, Document | None] = {}
        for key, value in one.states[before:]:
            last.pop(key, None)
            last[key] = value
        rules = [key for key in last if key.startswith("*rules:")]
        expected += [(key, last[key], False) for key in rules]
        expected += [(key, last[key], key not in known) for key in last if key not in rules]
    assert one.states == reference.states
    seen = zip(lane.states, values(lane.states), strict=True)
    assert [
        ((output.key or b"").decode(), value, NEW_HEADER in dict(output.headers)) for output, value in seen
    ] == expected


@given(logs(), cuts, st.booleans())
def test_equals_the_reference_fold(log: list[Source], at: list[int], remembers: bool) -> None:  # noqa: FBT001
    """Records, states, audit rows, answers, timers and open-ended tenants are what specification.md#the-fold says."""
    lane, reference, states = apply_all(log, at, remembers=remembers), referred(log), apply_all(log, range(len(log)))
    assert not any(lane.failures), lane.dead_letters
    documents = {tenant: reference.document(tenant) for tenant in TENANTS}
    assert_fold({tenant: lane.document(tenant) for tenant in TENANTS}, documents)
    published = [
        (key.decode(), value) for (key, *_), value in zip(states.states, values(states.states), strict=True) if key
    ]
    assert published == reference.states
    assert_last_of_each_commit(lane, reference, log, at)
    assert without_decision(lane.rows()) == reference.rows
    expected = [{name: value for name, value in answer.items() if name != "asked"} for answer in reference.answers]
    assert [remembered(outcome) for outcome in lane.outcomes()] == expected
    for tenant in lane.written:
        assert lane.written[tenant].due == reference.timer_due(tenant)
        assert lane.open_ended.get(tenant, False) == reference.open_ended(tenant)
    assert sum(lane.counts.values()) == len(reference.tenants)
    for state, number in lane.counts.items():
        assert number == sum(record["state"] == state for record in reference.tenants.values())


@given(logs(), cuts, cuts)
def test_any_batch_boundaries_give_the_same(log: list[Source], some: list[int], others: list[int]) -> None:
    """Loaded anew or kept in memory, in one batch or in many: the same records, outputs, operations and ids."""
    one = apply_all(log, some)
    for lane in (apply_all(log, others, remembers=True), apply_all(log, range(len(log)))):
        assert lane.packed == one.packed
        assert last_of_each(lane.states) == last_of_each(one.states)
        assert lane.transitions == one.transitions
        assert lane.answers == one.answers
        assert lane.dead_letters == one.dead_letters
        assert still_counting(lane) == still_counting(one)
        assert (lane.counts, lane.open_ended) == (one.counts, one.open_ended)
        assert {tenant: item.due for tenant, item in lane.written.items()} == {
            tenant: item.due for tenant, item in one.written.items()
        }


@given(logs(), cuts)
def test_what_the_store_still_holds_of_forgotten_commands_does_not_count(log: list[Source], at: list[int]) -> None:
    """It may take them away at any commit after they are forgotten, or never."""
    one, never = apply_all(log, at), apply_all(log, range(len(log)), forgets=False)
    assert (never.packed, never.transitions, never.answers) == (one.packed, one.transitions, one.answers)
    assert one.operations.items() <= never.operations.items()


@given(logs(), cuts)
def test_isolated(log: list[Source], at: list[int]) -> None:
    """Folded alone, with the rules, a tenant has the same record, states and audit rows as among others.

    As long as timestamps go back by less than an hour.
    """
    highest = list(accumulate((record.timestamp for record in log), max))
    assume(all(before - record.timestamp < HOUR for before, record in zip(highest, log, strict=True)))
    together = apply_all(log, at)
    for tenant in TENANTS:
        alone = apply_all([record for record in log if record.key in (None, tenant.encode())])
        assert_isolated({tenant: alone.document(tenant)}, {tenant: together.document(tenant)})
        assert alone.rows() == [row for row in together.rows() if row["tenant"] == tenant]
        assert last_of_each(alone.states).get(tenant.encode()) == last_of_each(together.states).get(tenant.encode())


@given(logs(), cuts)
def test_monotone_bounded_and_reversible(log: list[Source], at: list[int]) -> None:
    """After each batch every ramp moves one way, every sleep has an end, and rest is the very set of the state."""
    lane = Lane()
    for start, end in boundaries(log, at):
        lane.apply(log[start:end])
        for tenant in lane.packed:
            record, terms = lane.record(tenant), terms_of(lane, tenant)
            assert record is not None
            assert_monotone(record.ramp, samples=5)
            assert_bounded(record, terms)
            assert_reversible(record, terms)


@given(logs())
def test_once_and_answered(log: list[Source]) -> None:
    """Each record leads to rows of its own, and each command to exactly one outcome until its id is forgotten."""
    lane = apply_all(log)
    assert_once(lane.rows())
    events = [lane.decoder.decode(record).event for record in log]
    commands = [(event.subject, event.data.operation_id) for event in events if isinstance(event, CommandEvent)]
    assert len(lane.answers) == len(commands)
    assert_answered([command for command in commands if commands.count(command) == 1], lane.rows())


@given(logs(tenants=["acme"]))
def test_version_at_and_position_are_those_of_the_last_change_shown(log: list[Source]) -> None:
    """Versions count up by one with each state published, and begin anew after a tombstone."""
    lane, version, clock = Lane(), 0, 0
    for record in log:
        before = lane.document("acme")
        batch = lane.apply([record])
        after = lane.document("acme")
        if record.key is None or after is None:
            version = clock = 0
            if after is not None:
                version, clock = after["version"], after["clock"]
            continue
        published = [output for output in batch.states if output.key == b"acme"]
        version += len(published)
        assert after["version"] == version
        assert after["clock"] >= clock
        if published:
            assert (after["at"], after["position"]) == (after["clock"], f"0:{record.offset}")
        elif before is not None:
            hidden = ("clock", "rules_number", "claims")
            assert {k: v for k, v in after.items() if k not in hidden} == {
                k: v for k, v in before.items() if k not in hidden
            }
        clock = after["clock"]


@given(logs(tenants=["acme"]), st.integers(0, 3))
def test_a_timer_that_comes_twice_is_harmless(log: list[Source], times: int) -> None:
    """A timer after each record, once or more often, leaves what the state record says of the present as it is."""
    lane = apply_all(log)
    now = max(record.timestamp for record in log)
    last = log[-1].offset
    lane.apply([source(last + 1, now, timer(now))])
    once = (lane.document("acme"), list(lane.states), list(lane.transitions))
    for offset in range(times):
        lane.apply([source(last + 2 + offset, now, timer(now))])
    assert (lane.document("acme"), lane.states, lane.transitions) == once
