"""What falls due by itself: settling, the next deadline, retirement, what has no end."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.domain.claim import Cause, Claim
from schemas.domain.deadlines import is_open_ended, next_deadline, retires_at, settle
from schemas.domain.schedule import Ramp
from schemas.domain.state import SleepState
from tests.support.claims import (
    QUICK,
    Tenant,
    breaker,
    claims_of,
    folded,
    mode,
    operation,
    pin,
    sleeping,
    tenants,
    terms_of,
)
from tests.support.times import NOW


def moved(*claims: Claim, policy: dict[str, Any] | None = None, now: int = NOW + 10**9) -> list[tuple[str, int, Cause]]:
    """Return the changes that settling a tenant with these claims makes: the new depth, when, and why."""
    tenant = folded(claims, policy)
    _, changes = settle(tenant.record, tenant.terms, now)
    return [(change.after.label, change.at, change.cause) for change in changes]


def test_a_claim_ends_at_its_own_time_whenever_that_is_noticed() -> None:
    """A late timer moves nothing."""
    on_time = moved(operation("op", "deep", NOW + 60), now=NOW + 60)
    late = moved(operation("op", "deep", NOW + 60), now=NOW + 86_400_000)
    assert on_time == late == [("active", NOW + 60, Cause("expired", "op"))]


def test_nothing_ends_before_its_time() -> None:
    """Never early, not by a millisecond."""
    assert moved(operation("op", "deep", NOW + 60), now=NOW + 59) == []


def test_settling_leaves_clock_position_and_version_alone() -> None:
    """They belong to the event that notices."""
    tenant = folded([operation("op", "deep", NOW + 60)])
    after, _ = settle(tenant.record, tenant.terms, NOW + 100)
    assert (
        replace(
            after,
            state=SleepState.deep,
            decided=SleepState.deep,
            since=NOW,
            cause=tenant.record.cause,
            claims=tenant.record.claims,
            ramp=tenant.record.ramp,
        )
        == tenant.record
    )


def test_claims_end_one_after_another() -> None:
    """Each end is a decision of its own."""
    assert moved(breaker("a@1", "open", NOW + 10), operation("op", "deep", NOW + 20), mode("light", NOW + 30)) == [
        ("deep", NOW + 10, Cause("expired", "a@1")),
        ("light", NOW + 20, Cause("expired", "op")),
        ("active", NOW + 30, Cause("expired", "mode")),
    ]


def test_claims_that_end_together_are_one_decision_named_after_the_deepest() -> None:
    """Deepest by its own mapping."""
    assert moved(breaker("a@1", "half_open", NOW + 10), operation("op", "deep", NOW + 10)) == [
        ("active", NOW + 10, Cause("expired", "op"))
    ]


@pytest.mark.parametrize(
    ("claims", "key"),
    [
        ([operation("a", "deep", NOW + 1), mode("deep", NOW + 1)], "mode"),
        ([operation("b", "deep", NOW + 1), operation("a", "deep", NOW + 1)], "a"),
        ([operation("a", "freeze", NOW + 1), breaker("b@1", "open", NOW + 1)], "b@1"),
    ],
)
def test_a_tie_goes_to_the_smallest_source_and_key(claims: list[Claim], key: str) -> None:
    """breaker, mode, operation, in the order of the alphabet."""
    assert moved(*claims) == [("active", NOW + 1, Cause("expired", key))]


def test_the_deepest_of_the_ended_counts_by_its_mapping_and_not_by_its_quorum() -> None:
    """An open breaker without its quorum names the cause all the same."""
    policy = {"breakers": [{"match": "a", "quorum": 2}]}
    result = moved(breaker("a@1", "open", NOW + 1), mode("light", NOW + 1), policy=policy)
    assert result == [("active", NOW + 1, Cause("expired", "a@1"))]


def test_a_pin_that_ended_is_the_cause_whatever_ended_with_it() -> None:
    """Its key is `pin`."""
    assert moved(pin("light", NOW + 5), operation("op", "freeze", NOW + 5)) == [
        ("active", NOW + 5, Cause("pin_ended", "pin"))
    ]


def test_a_pin_that_ends_may_deepen_the_sleep() -> None:
    """What it kept awake falls asleep again."""
    result = moved(pin("active", NOW + 5), breaker("a@1", "open", NOW + 9))
    assert [after for after, *_ in result] == ["freeze", "active"]


def test_a_claim_that_decided_nothing_ends_without_a_change() -> None:
    """It is dropped all the same."""
    tenant = folded([mode("deep"), operation("op", "light", NOW + 5)])
    after, changes = settle(tenant.record, tenant.terms, NOW + 5)
    assert changes == []
    assert list(after.claims) == [("mode", "mode")]


def test_a_claim_that_means_active_is_dropped_in_passing() -> None:
    """At the end of its lease, without a change."""
    tenant = folded([breaker("a@1", "closed", NOW + 5)])
    after, changes = settle(tenant.record, tenant.terms, NOW + 5)
    assert (after.claims, changes) == ({}, [])


def test_a_hold_ends_at_its_own_time() -> None:
    """Cause `hold_ended`, no key."""
    policy = {"min_sleep_seconds": 10}
    assert moved(operation("op", "deep", NOW + 60), policy=policy) == [
        ("active", NOW + 10_000, Cause("hold_ended", None))
    ]


def test_a_claim_that_ends_with_the_hold_names_the_cause() -> None:
    """`expired` comes before `hold_ended`."""
    policy = {"min_sleep_seconds": 10}
    assert moved(operation("op", "deep", NOW + 10_000), policy=policy) == [
        ("active", NOW + 10_000, Cause("expired", "op"))
    ]


def test_a_floor_has_no_end() -> None:
    """Nothing falls due where only the policy asks for sleep."""
    tenant = folded([], {"floor": "light"})
    assert moved(policy={"floor": "light"}) == []
    assert next_deadline(tenant.record, tenant.terms) is None


@QUICK
@given(tenants(), st.lists(st.integers(0, 80), max_size=5).map(sorted))
def test_settling_in_steps_is_settling_at_once(tenant: Tenant, steps: list[int]) -> None:
    """Whenever it is noticed, the same changes happen at the same times."""
    at_once = settle(tenant.record, tenant.terms, NOW + 80)
    record, changes = tenant.record, []
    for step in (*steps, 80):
        record, result = settle(record, tenant.terms, NOW + step)
        changes += result
    assert (record, changes) == at_once


@QUICK
@given(tenants())
def test_every_change_happens_at_the_end_of_a_claim_or_of_the_hold(tenant: Tenant) -> None:
    """In order, and each names a cause that passing time may have."""
    _, changes = settle(tenant.record, tenant.terms, NOW + 1000)
    assert [change.at for change in changes] == sorted({change.at for change in changes})
    assert {change.cause.kind for change in changes} <= {"expired", "pin_ended", "hold_ended"}
    for change in changes:
        ending = [claim for claim in tenant.record.claims.values() if claim.expires_at == change.at]
        assert (change.cause.kind == "hold_ended") == (not ending)
        assert (change.cause.kind == "pin_ended") == any(claim.source == "pin" for claim in ending)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([], None),
        ([mode("deep")], None),
        ([breaker("a@1", "closed", NOW + 3)], None),
        ([breaker("a@1", "closed", NOW + 3), operation("op", "light", NOW + 9)], NOW + 9),
        ([operation("op", "light", NOW + 9), operation("oq", "deep", NOW + 7)], NOW + 7),
        ([pin("active", NOW + 5), operation("op", "light", NOW + 9)], NOW + 5),
    ],
)
def test_the_next_deadline_is_the_earliest_end_of_a_pin_or_a_sleep_claim(
    claims: list[Claim], expected: int | None
) -> None:
    """A claim that means active needs no timer."""
    tenant = folded(claims)
    assert next_deadline(tenant.record, tenant.terms) == expected


def test_the_end_of_a_hold_is_a_deadline() -> None:
    """With no event, that is when the tenant wakes."""
    policy = {"min_sleep_seconds": 10}
    tenant = folded([operation("op", "deep", NOW + 60)], policy)
    held, _ = settle(tenant.record, tenant.terms, NOW + 60)
    assert next_deadline(held, tenant.terms) == NOW + 10_000
    both = replace(held, claims=claims_of(mode("light", NOW + 20_000)))
    assert next_deadline(both, tenant.terms) == NOW + 10_000


@QUICK
@given(tenants())
def test_nothing_changes_before_the_next_deadline(tenant: Tenant) -> None:
    """A timer at the deadline is early enough."""
    deadline = next_deadline(tenant.record, tenant.terms)
    _, changes = settle(tenant.record, tenant.terms, NOW + 1000 if deadline is None else deadline - 1)
    assert changes == []


@pytest.mark.parametrize(
    ("claims", "open_ended"),
    [
        ([], 0),
        ([breaker("a@1", "open", NOW + 1)], 0),
        ([breaker("a@1", "closed")], 0),
        ([operation("op", "deep", NOW + 1), mode("light", NOW + 1)], 0),
        ([breaker("a@1", "forced_open")], 1),
        ([mode("light")], 1),
        ([pin("active", NOW + 1)], 1),
    ],
)
def test_a_pin_or_a_claim_without_an_end_is_open_ended(claims: list[Claim], open_ended: int) -> None:
    """So that someone can list them."""
    tenant = folded(claims)
    assert is_open_ended(tenant.record, tenant.terms) == bool(open_ended)


def test_an_idle_record_retires_a_day_after_its_last_news() -> None:
    """The latest of clock, since and the ramp's end counts."""
    record = sleeping("active")
    day = 86_400_000
    assert retires_at(record, terms_of()) == NOW + day
    assert retires_at(replace(record, clock=NOW + 7), terms_of()) == NOW + 7 + day
    assert retires_at(replace(record, since=NOW + 8), terms_of()) == NOW + 8 + day
    ramp = Ramp(record.ramp.start, record.ramp.target, NOW, NOW + 9)
    assert retires_at(replace(record, ramp=ramp), terms_of()) == NOW + 9 + day


def test_the_rules_say_how_long_an_idle_record_stays() -> None:
    """From a minute to 30 days."""
    assert retires_at(sleeping("active"), terms_of(None, {"retire_after_seconds": 60})) == NOW + 60_000


@pytest.mark.parametrize(
    ("claims", "policy"),
    [
        ([breaker("a@1", "open", NOW + 1)], None),
        ([mode("light")], None),
        ([breaker("a@1", "open")], {"ceiling": "active"}),
        ([breaker("a@1", "open")], {"breakers": [{"match": "*", "quorum": 2}]}),
        ([pin("active", NOW + 1)], None),
        ([], {"floor": "light"}),
        ([breaker("a@1", "open")], {"enforce": False}),
    ],
)
def test_a_record_with_a_reason_for_sleep_does_not_retire(claims: list[Claim], policy: dict[str, Any] | None) -> None:
    """Also where that reason decides nothing at present."""
    tenant = folded(claims, policy)
    assert retires_at(tenant.record, tenant.terms) is None


def test_a_record_that_ever_had_a_policy_does_not_retire() -> None:
    """Its version must go on counting."""
    assert retires_at(replace(sleeping("active"), policy_version=2), terms_of()) is None


def test_a_record_with_a_claim_that_means_active_retires() -> None:
    """A closed breaker keeps no record."""
    tenant = folded([breaker("a@1", "closed", NOW + 900_000)])
    assert retires_at(tenant.record, tenant.terms) == NOW + 86_400_000
