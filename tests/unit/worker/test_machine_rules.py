"""Rules that change on the way: step 3, what is settled before it, and the numbers that records keep."""

from typing import Any

import pytest
from msgspec.structs import replace

from schemas.domain.policy import BUILT_IN_RULES
from tests.support.events import Document, breaker, mode, pin, policy, sleep, timer
from tests.support.times import DAY, HOUR, MINUTE, SECOND, T
from tests.unit.worker.compared_tenant import Tenant

AWAKE: Document = {"policy": {"ceiling": "active"}}


def test_a_ceiling_of_active_wakes_every_tenant() -> None:
    """One command; the timer that follows it brings it to each."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(policy("p", {"floor": "deep"}), T)
    tenant.follow(AWAKE)
    tenant(timer(), T + MINUTE)
    assert tenant.moves == [("freeze", "active", "rules", None, T + MINUTE)]
    assert (tenant.known.rules_number, tenant.last.published) == (1, True)
    tenant(mode("m", "freeze"), T + MINUTE)
    assert tenant.state == "active"


def test_pins_are_no_business_of_the_rules() -> None:
    """Their ceiling leaves them alone."""
    tenant = Tenant()
    tenant(pin("p", "deep", HOUR), T)
    tenant.follow(AWAKE)
    tenant(timer(), T + MINUTE)
    assert tenant.state == "deep"
    assert not tenant.last.published


def test_what_fell_due_is_settled_under_the_rules_before() -> None:
    """Then the present ones decide, at `now`."""
    tenant = Tenant(document={"policy": {"min_sleep_seconds": 60}})
    tenant(sleep("op", "freeze", SECOND), T)
    tenant.follow({"policy": {"ceiling": "light"}})
    tenant(breaker("open"), T + 2 * SECOND)
    assert tenant.moves == [
        ("freeze", "active", "rules", None, T + 2 * SECOND),
        ("active", "light", "breaker", "payments@1", T + 2 * SECOND),
    ], "it was held until now"
    late = Tenant(document={"policy": {"min_sleep_seconds": 60}})
    late(sleep("op", "freeze", SECOND), T)
    late.follow({"policy": {"ceiling": "light"}})
    late(breaker("open"), T + HOUR)
    assert late.moves == [
        ("freeze", "active", "hold_ended", None, T + MINUTE),
        ("active", "light", "breaker", "payments@1", T + HOUR),
    ]
    first, second = late.last.rows[:2]
    assert (first.rules, second.rules) == (late.rules[1].digest, late.rules[2].digest)


def test_rules_that_changed_twice_between_two_events_count_once() -> None:
    """A tenant sees those before and those in force."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant.follow(AWAKE)
    tenant.follow({})
    tenant(timer(), T + MINUTE)
    assert (tenant.moves, tenant.known.rules_number, tenant.last.published) == ([], 2, False)
    assert tenant.state == "freeze"


def test_rules_that_changed_twice_are_followed_each_time() -> None:
    """Down and up again."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant.follow(AWAKE)
    tenant(timer(), T + MINUTE)
    tenant.follow({})
    tenant(timer(), T + 2 * MINUTE)
    assert tenant.moves == [("active", "freeze", "rules", None, T + 2 * MINUTE)]
    assert tenant.known.rules_number == 2


def test_a_timer_under_equal_rules_changes_only_their_number() -> None:
    """The clock stays too."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    before = tenant.known
    tenant.follow({})
    tenant(timer(), T + MINUTE)
    assert tenant.known == replace(before, rules_number=1)
    assert not tenant.last.published


def test_a_tenants_own_policy_is_not_replaced_by_the_rules() -> None:
    """Only their ceiling, their schedule and the time to retire reach it."""
    tenant = Tenant()
    tenant(policy("p", {"breakers": [{"match": "*", "open": "deep"}]}), T)
    tenant(breaker("open"), T)
    tenant.follow(
        {"policy": {"breakers": [{"match": "*", "open": "light"}], "enforce": False, "min_sleep_seconds": 60}}
    )
    tenant(timer(), T + MINUTE)
    assert (tenant.state, tenant.last.published) == ("deep", False)


def test_a_schedule_of_the_rules_starts_a_ramp_without_a_transition() -> None:
    """Where the present set changed; a ramp is shown, so it is published."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant.follow({"schedule": scaled(2)})
    tenant(timer(), T + MINUTE)
    ramp = tenant.known.ramp
    assert (tenant.moves, tenant.last.published) == ([], True)
    assert (ramp.starts_at, ramp.ends_at, ramp.target.K) == (T + MINUTE, T + 90 * SECOND, 2)


def test_a_schedule_that_changes_another_state_shows_in_the_forecast() -> None:
    """The forecast names the numbers that will come, so it is published."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    ramp = tenant.known.ramp
    built_in = scaled(1)
    tenant.follow({"schedule": {**built_in, "active": {**built_in["active"], "K": 200}}})
    tenant(timer(), T + MINUTE)
    assert (tenant.known.ramp, tenant.moves, tenant.last.published) == (ramp, [], True)
    assert tenant.document is not None
    assert tenant.document["forecast"][0]["parameters"]["to"]["K"] == 200


@pytest.mark.parametrize(
    ("document", "shows"),
    [
        ({"policy": {"breakers": [{"match": "*", "half_open": "deep"}]}}, False),
        ({"policy": {"breakers": [{"match": "*", "lease_seconds": 60}]}}, False),
        ({"policy": {"breakers": [{"match": "*", "open": "light"}]}}, True),
        ({"policy": {"max_ttl_seconds": 5}}, False),
        ({"policy": {"ramp_seconds": {"wake": 5}}}, True),
        ({"retire_after_seconds": 60}, False),
    ],
)
def test_rules_are_published_for_a_tenant_where_a_reader_sees_a_difference(document: Document, shows: bool) -> None:  # noqa: FBT001
    """In what its claims mean, in its ramp, in its forecast."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant.follow(document)
    tenant(timer(), T + MINUTE)
    assert tenant.last.published is shows
    assert tenant.known.rules_number == 1


def test_a_claim_that_comes_to_mean_something_else_behind_a_pin_is_published() -> None:
    """Its meaning is shown though the decision is the same."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(pin("p", "freeze", HOUR), T)
    tenant.follow({"policy": {"breakers": [{"match": "*", "open": "deep"}]}})
    tenant(timer(), T + MINUTE)
    assert (tenant.moves, tenant.last.published) == ([], True)
    assert tenant.claim("breaker", "payments@1")["state"] == "deep"


def test_a_dry_run_for_all_keeps_since_and_the_records_cause() -> None:
    """Only the audit row has the cause."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant.follow({"policy": {"enforce": False}})
    tenant(timer(), T + MINUTE)
    record = tenant.known
    assert (tenant.state, tenant.decided, record.since) == ("active", "freeze", T)
    assert record.cause is not None
    assert record.cause.kind == "breaker"
    assert tenant.moves == [("freeze", "freeze", "rules", None, T + MINUTE)]
    assert not tenant.last.rows[0].enforced


def test_a_shorter_time_to_retire_counts_at_once() -> None:
    """A timer looks after step 3."""
    tenant = Tenant()
    tenant(breaker("closed"), T)
    tenant.follow({"retire_after_seconds": 60})
    tenant(timer(), T + HOUR)
    assert (tenant.record, tenant.last.published) == (None, True)


def test_rules_that_wake_a_tenant_do_not_retire_it_at_once() -> None:
    """It woke just now."""
    tenant = Tenant()
    tenant(mode("m", "deep"), T)
    tenant.follow({**AWAKE, "retire_after_seconds": 60})
    tenant(timer(), T + DAY)
    assert tenant.moves == [("deep", "active", "rules", None, T + DAY)]
    assert tenant.known.rules_number == 1


def test_a_refused_event_brings_the_rules_too() -> None:
    """Steps 1 to 3 stand."""
    tenant = Tenant()
    tenant(breaker("open", occurred_at=T), T)
    tenant.follow(AWAKE)
    tenant(breaker("closed", occurred_at=T - 1), T + MINUTE)
    assert tenant.moves == [("freeze", "active", "rules", None, T + MINUTE)]
    assert tenant.codes == ["stale_event"]


def test_a_new_record_names_the_rules_in_force() -> None:
    """Its parameters are their active set."""
    tenant = Tenant(document={"schedule": scaled(3)})
    tenant(breaker("closed"), T)
    assert tenant.known.rules_number == 1
    assert tenant.known.ramp.target.K == 300


def scaled(factor: int) -> Document:
    """Return the built-in schedule with `K` multiplied."""
    filled: Any = {
        state: values.as_json()
        for state, values in zip(("active", "light", "deep", "freeze"), BUILT_IN_RULES.schedule, strict=True)
    }
    for values in filled.values():
        values["K"] *= factor
    return dict(filled)
