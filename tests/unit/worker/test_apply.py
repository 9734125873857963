"""The table of what each type of event does: every type has its entry, and each refusal its words."""

import pytest

from schemas.domain.claim import Cause
from schemas.domain.policy import BUILT_IN_RULES
from schemas.domain.record import new_record
from schemas.wire.events import BREAKER, EVENT_MODELS, RULES, TIMER, Breaker, Mode, Operation
from schemas.wire.operation import RefusalCode
from tests.support.events import Document, breaker, cancel, mode, policy, sleep
from tests.support.times import HOUR, MINUTE, SECOND, T
from tests.unit.worker.compared_tenant import Tenant
from worker.fold.event_handlers import APPLY, EventOutcome, Refusal, apply_breaker, apply_mode, apply_operation

RECORD = new_record(BUILT_IN_RULES, T)
TERMS = BUILT_IN_RULES.terms


def test_every_type_of_event_but_timer_and_rules_is_applied() -> None:
    """A timer applies nothing, and rules are no tenant's."""
    assert APPLY.keys() == EVENT_MODELS.keys() - {TIMER, RULES}


def test_applying_does_not_decide() -> None:
    """The record has the claim and the old state; the cause is what a change will have."""
    data = Breaker.model_validate({"breaker": "a", "state": "open"})
    step = APPLY[BREAKER](RECORD, TERMS, data, T, T)
    assert isinstance(step, EventOutcome)
    assert step.record.decided == RECORD.decided
    assert list(step.record.claims) == [("breaker", "a@")]
    assert step.cause == Cause("breaker", "a@")


def test_applying_leaves_the_record_that_it_was_given_alone() -> None:
    """Claims are values: the record before an event may be needed after it."""
    opened = apply_breaker(RECORD, TERMS, Breaker(breaker="a", state="open"), T, T)
    assert isinstance(opened, EventOutcome)
    assert RECORD.claims == {}
    before = dict(opened.record.claims)
    apply_breaker(opened.record, TERMS, Breaker(breaker="a", state="closed"), T, T)
    apply_operation(opened.record, TERMS, Operation(operation_id="o", actor="a", target="deep", ttl_ms=5), T, T)
    apply_mode(opened.record, TERMS, Mode(operation_id="o", actor="a", target="deep"), T, T)
    assert opened.record.claims == before


def test_a_renewal_that_changes_nothing_returns_the_very_record() -> None:
    """So that a heartbeat costs neither a decision nor a write."""
    opened = apply_breaker(RECORD, TERMS, Breaker(breaker="a", state="open"), T, T)
    assert isinstance(opened, EventOutcome)
    renewed = apply_breaker(opened.record, TERMS, Breaker(breaker="a", state="open"), T + 1, T + 1)
    assert renewed == EventOutcome(opened.record, None)
    assert isinstance(renewed, EventOutcome)
    assert renewed.record is opened.record


def saturated() -> Tenant:
    """Return a tenant with 32 operations and a policy."""
    tenant = Tenant()
    tenant(policy("p", {}), T)
    for number in range(32):
        tenant(sleep(f"op-{number}"), T)
    tenant(breaker("open", "a@1", occurred_at=T), T)
    return tenant


@pytest.mark.parametrize(
    ("event", "code", "words"),
    [
        (sleep("x", not_after=T), "too_late", f"the log took it at {T + 1}, after its not_after {T}; send it again"),
        (sleep("x", ttl_ms=None), "ttl_out_of_range", "an operation needs a TTL of at most 3600 seconds"),
        (sleep("x", ttl_ms=HOUR + 1), "ttl_out_of_range", "the TTL must be from 0.001 to 3600 seconds"),
        (mode("x", "deep", override=True), "ttl_out_of_range", "a pin needs a TTL of at most 3600 seconds"),
        (mode("x", "active", 5), "ttl_out_of_range", "mode active without override takes no TTL: it removes the mode"),
        (sleep("x"), "too_many_operations", "the tenant has 32 live operations; cancel one, or wait"),
        (cancel("x", "y"), "not_running", "y is not a live operation of the tenant"),
        (policy("x", {}, if_version=7), "version_conflict", "the policy has version 1, not 7"),
        (
            policy("x", {"a": 1}),
            "invalid_policy",
            (
                "a: unknown field; known: floor, ceiling, enforce, min_sleep_seconds, max_ttl_seconds, "
                "ramp_seconds, breakers, schedule"
            ),
        ),
        (sleep("op-1"), "duplicate_operation", None),
        (sleep("op-1", "light"), "idempotency_conflict", "op-1 was used at 0:44 for another decision; take a new id"),
    ],
)
def test_a_refusal_says_what_happened_and_what_to_do(event: Document, code: RefusalCode, words: str | None) -> None:
    """`detail` is for people."""
    tenant = saturated()
    tenant(event, T + 1)
    assert tenant.codes == [code]
    assert tenant.last.answer is not None
    assert tenant.last.answer.detail == words


@pytest.mark.parametrize(
    ("occurred_at", "words"),
    [
        (T + 2 * MINUTE, "occurred_at is 120000 ms after the log's time; set the emitter's clock"),
        (T - SECOND, f"an event of a@ that occurred at {T} was applied before"),
    ],
)
def test_a_refused_breaker_event_says_why(occurred_at: int, words: str) -> None:
    """Nobody waits for the answer, and the caller of the fold can see that."""
    opened = apply_breaker(RECORD, TERMS, Breaker(breaker="a", state="open", occurred_at=T), T, T)
    assert isinstance(opened, EventOutcome)
    step = apply_breaker(opened.record, TERMS, Breaker(breaker="a", state="closed", occurred_at=occurred_at), T, T)
    assert isinstance(step, Refusal)
    assert step.detail == words
