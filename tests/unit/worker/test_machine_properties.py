"""Properties of the fold over whole logs: all types of events, several tenants, changes of rules, wild times."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import CommandEvent
from schemas.policy import Terms
from tests.invariants import (
    assert_answered,
    assert_bounded,
    assert_fold,
    assert_isolated,
    assert_monotone,
    assert_once,
    assert_reversible,
)  # fmt: skip
from tests.reference import Reference
from tests.unit.worker.batches import TENANTS, Lane, apply_all, logs, values
from tests.unit.worker.build import Source, remembered, source, timer, without_decision

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


@given(logs(), cuts, st.booleans())
def test_equals_the_reference_fold(log: list[Source], at: list[int], remembers: bool) -> None:  # noqa: FBT001
    """Records, states, audit rows, answers, timers and open-ended tenants: all are what DESIGN section 3 says."""
    lane, reference = apply_all(log, at, remembers=remembers), referred(log)
    assert not any(lane.failures), lane.dead_letters
    documents = {tenant: reference.document(tenant) for tenant in TENANTS}
    assert_fold({tenant: lane.document(tenant) for tenant in TENANTS}, documents)
    published = [
        (key.decode(), value) for (key, *_), value in zip(lane.states, values(lane.states), strict=True) if key
    ]
    assert published == reference.states
    assert without_decision(lane.rows()) == reference.rows
    told = [{name: value for name, value in answer.items() if name != "asked"} for answer in reference.answers]
    assert [remembered(outcome) for outcome in lane.outcomes()] == told
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
        assert lane.states == one.states
        assert lane.transitions == one.transitions
        assert lane.answers == one.answers
        assert lane.dead_letters == one.dead_letters
        assert lane.operations == one.operations
        assert (lane.counts, lane.open_ended) == (one.counts, one.open_ended)
        assert {tenant: item.due for tenant, item in lane.written.items()} == {
            tenant: item.due for tenant, item in one.written.items()
        }


@given(logs(), cuts)
def test_isolated(log: list[Source], at: list[int]) -> None:
    """Folded alone, with the rules, a tenant has the same record, states and audit rows as among others."""
    together = apply_all(log, at)
    for tenant in TENANTS:
        alone = apply_all([record for record in log if record.key in (None, tenant.encode())])
        assert_isolated({tenant: alone.document(tenant)}, {tenant: together.document(tenant)})
        assert alone.rows() == [row for row in together.rows() if row["tenant"] == tenant]
        own = [output for output in together.states if output.key == tenant.encode()]
        assert [output for output in alone.states if output.key == tenant.encode()] == own


@given(logs(), cuts)
def test_monotone_bounded_and_reversible(log: list[Source], at: list[int]) -> None:
    """After each batch every ramp moves one way, every sleep has an end, and rest is the very set of the state."""
    lane = Lane()
    for start, end in pairwise(sorted({0, len(log), *(cut % (len(log) + 1) for cut in at)})):
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
