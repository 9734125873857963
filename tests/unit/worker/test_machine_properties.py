"""Properties of the fold over whole logs: all types of events, several tenants, changes of rules, wild times."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import RulesEvent
from schemas.policy import Terms
from tests.invariants import (
    assert_answered, assert_bounded, assert_fold, assert_isolated, assert_monotone, assert_once, assert_reversible,
)  # fmt: skip
from tests.reference import Reference
from tests.unit.worker.batches import TENANTS, Lane, apply_all, logs, values
from tests.unit.worker.build import Source, remembered, without_decision

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
    published = [(key.decode(), value) for (key, *_), value in zip(lane.states, values(lane.states), strict=True) if key]
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
