"""The decision: claims, quorum, floor, ceilings, pin, hold and dry run."""

from typing import Any, get_args

import pytest
from hypothesis import given
from msgspec.structs import replace

from schemas.domain.claim import Cause, CauseKind, Claim, Claims
from schemas.domain.decision import Change, decide, deepest, depth_of, held_until, wanted
from schemas.domain.policy import Terms
from schemas.domain.state import LABELS, BreakerState, SleepState
from tests.support.claims import QUICK, Tenant, breaker, claims_of, mode, operation, pin, sleeping, tenants, terms_of
from tests.support.invariants import assert_bounded, assert_reversible
from tests.support.times import NOW

EVENT = Cause("breaker", "b@1")
HOLDS = {"min_sleep_seconds": 10}


def decided(*claims: Claim, policy: dict[str, Any] | None = None, rules: dict[str, Any] | None = None) -> str:
    """Return what these claims mean, before any hold."""
    return wanted(claims_of(*claims), terms_of(policy, rules)).label


def after(record_decided: Any, *claims: Claim, policy: dict[str, Any], cause: Cause | None = EVENT) -> str:  # noqa: ANN401 - a state's name
    """Return what is decided a second after another decision that a breaker made."""
    record = sleeping(record_decided, claims, policy, cause=cause)
    return decide(record, terms_of(policy), NOW + 1000, EVENT)[0].decided.label


def test_without_claims_a_tenant_is_awake() -> None:
    """Nothing asks for sleep."""
    assert decided() == "active"


@pytest.mark.parametrize("state", get_args(BreakerState))
@pytest.mark.parametrize("opened", LABELS)
def test_a_breaker_means_what_its_rule_says(state: BreakerState, opened: str) -> None:
    """Every breaker state under every depth of `open`."""
    policy = {"breakers": [{"match": "a", "open": opened, "half_open": "deep"}]}
    expected = {"open": opened, "forced_open": opened, "half_open": "deep"}.get(state, "active")
    assert decided(breaker("a@1", state), policy=policy) == expected


def test_the_deepest_claim_decides() -> None:
    """Whatever its source, and in whatever order they came."""
    claims = [mode("light"), operation("op", "deep", NOW + 1), breaker("a@1", "half_open")]
    assert decided(*claims) == decided(*reversed(claims)) == "deep"


def test_a_breaker_s_name_ends_at_the_first_at_sign() -> None:
    """An instance may hold one of its own."""
    policy = {"breakers": [{"match": "a", "open": "light"}]}
    assert decided(breaker("a@pod@zone", "open"), policy=policy) == "light"


@pytest.mark.parametrize(
    ("quorum", "expected"), [(1, "freeze"), (2, "freeze"), (3, "light"), (4, "active"), (5, "active")]
)
def test_a_name_counts_as_the_kth_deepest_of_its_instances(quorum: int, expected: str) -> None:
    """Two open, one half open, one closed; fewer instances than the quorum mean awake."""
    claims = [
        breaker("a@1", "half_open"),
        breaker("a@2", "open"),
        breaker("a@3", "closed"),
        breaker("a@4", "open"),
    ]
    policy = {"breakers": [{"match": "a", "quorum": quorum}]}
    assert decided(*claims, policy=policy) == expected


def test_instances_of_different_names_make_no_quorum() -> None:
    """A quorum is a name's own."""
    policy = {"breakers": [{"match": "*", "quorum": 2}]}
    assert decided(breaker("a@1", "open"), breaker("b@1", "open"), policy=policy) == "active"


def test_a_floor_raises_and_a_ceiling_cuts() -> None:
    """First the one, then the other."""
    assert decided(policy={"floor": "light"}) == "light"
    assert decided(breaker("a@1", "open"), policy={"ceiling": "deep"}) == "deep"


def test_the_ceiling_of_the_rules_cuts_even_a_floor() -> None:
    """One command wakes the whole platform."""
    rules = {"policy": {"ceiling": "active"}}
    assert decided(breaker("a@1", "open"), policy={"floor": "deep"}, rules=rules) == "active"


@pytest.mark.parametrize("state", LABELS)
def test_a_pin_alone_decides(state: Any) -> None:  # noqa: ANN401 - a state's name
    """Floor, ceilings and claims do not count while it lives."""
    policy = {"floor": "light", "ceiling": "deep"}
    rules = {"policy": {"ceiling": "light"}}
    assert decided(breaker("a@1", "open"), pin(state, NOW + 9), policy=policy, rules=rules) == state


def test_a_change_of_policy_means_another_depth_for_a_held_claim() -> None:
    """A breaker's claim keeps its breaker state and is mapped at each decision."""
    claim = breaker("a@1", "open")
    assert depth_of(claim, terms_of()) is SleepState.freeze
    assert depth_of(claim, terms_of({"breakers": [{"match": "*", "open": "light"}]})) is SleepState.light


def test_a_shallower_decision_is_held_for_the_minimum_sleep() -> None:
    """`decided` and `state` stay, and the record says until when."""
    record = sleeping("deep", policy=HOLDS)
    held, change = decide(record, terms_of(HOLDS), NOW + 9999, EVENT)
    assert (held.decided, held.state, held.held_until) == (SleepState.deep, SleepState.deep, NOW + 10_000)
    assert change is None


def test_a_hold_is_over_at_its_very_end() -> None:
    """At `since + min_sleep` the decision is taken."""
    woken, change = decide(sleeping("deep", policy=HOLDS), terms_of(HOLDS), NOW + 10_000, EVENT)
    assert (woken.decided, woken.held_until) == (SleepState.active, None)
    assert change == Change(SleepState.deep, SleepState.active, EVENT, NOW + 10_000, enforced=True)


def test_a_hold_ends_where_the_claims_ask_for_the_depth_again() -> None:
    """`held_until` is null while nothing is held."""
    held, _ = decide(sleeping("deep", policy=HOLDS), terms_of(HOLDS), NOW + 1, EVENT)
    again, change = decide(
        replace(held, claims=claims_of(mode("deep"))), terms_of(HOLDS), NOW + 2, Cause("mode", "mode")
    )
    assert (again.held_until, change) == (None, None)
    assert again.since == NOW


def test_a_deeper_decision_is_never_held() -> None:
    """And it starts a minimum sleep of its own."""
    assert after("light", breaker("a@1", "open"), policy=HOLDS) == "freeze"


def test_a_hold_keeps_the_present_depth_and_not_one_between() -> None:
    """A claim for light does not end a held deep early."""
    assert after("deep", mode("light"), policy=HOLDS) == "deep"


@pytest.mark.parametrize("policy", [HOLDS | {"ceiling": "light"}, HOLDS | {"enforce": False}, {"min_sleep_seconds": 0}])
def test_no_hold_under_a_lower_ceiling_in_a_dry_run_or_without_a_minimum(
    policy: dict[str, Any],
) -> None:
    """A hold never adds sleep that was not there."""
    assert after("deep", policy=policy) == "active"


def test_nothing_is_held_under_a_lower_ceiling_of_the_rules() -> None:
    """The rules wake at once."""
    terms = terms_of(HOLDS, {"policy": {"ceiling": "light"}})
    assert decide(sleeping("deep", policy=HOLDS), terms, NOW + 1, EVENT)[0].decided is SleepState.active


def test_nothing_is_held_while_a_pin_lives() -> None:
    """A pin to active wakes at once."""
    assert after("deep", pin("active", NOW + 5000), policy=HOLDS) == "active"


@pytest.mark.parametrize("kind", ["pin", "pin_ended"])
def test_nothing_is_held_that_a_pin_decided(kind: Any) -> None:  # noqa: ANN401 - a cause's kind
    """A pin's depth ends with the pin."""
    assert after("deep", policy=HOLDS, cause=Cause(kind, "pin")) == "active"


@pytest.mark.parametrize("kind", sorted(set(get_args(CauseKind)) - {"pin", "pin_ended"}))
def test_what_anything_else_decided_is_held(kind: Any) -> None:  # noqa: ANN401 - a cause's kind
    """The exceptions are pins only; a record that never had a cause is held too."""
    assert after("deep", policy=HOLDS, cause=Cause(kind, None)) == "deep"
    assert after("deep", policy=HOLDS, cause=None) == "deep"


def test_a_dry_run_decides_and_stays_awake() -> None:
    """`decided` moves with its cause, `state` and the parameters do not."""
    terms = terms_of({"enforce": False})
    record, change = decide(sleeping("active", [breaker("b@1", "open")]), terms, NOW + 5, EVENT)
    assert (record.decided, record.state) == (SleepState.freeze, SleepState.active)
    assert (record.since, record.cause) == (NOW + 5, EVENT)
    assert record.ramp.target == terms.schedule[0]
    assert change == Change(SleepState.active, SleepState.freeze, EVENT, NOW + 5, enforced=False)


def test_a_mere_change_of_enforce_keeps_since_and_cause() -> None:
    """The change has the new cause for its audit row; the record keeps the old one."""
    record = sleeping("freeze", [breaker("a@1", "open")])
    cause = Cause("policy", "policy")
    dry, change = decide(record, terms_of({"enforce": False}), NOW + 5, cause)
    assert (dry.decided, dry.state, dry.since, dry.cause) == (
        SleepState.freeze,
        SleepState.active,
        NOW,
        record.cause,
    )
    assert change == Change(SleepState.freeze, SleepState.freeze, cause, NOW + 5, enforced=False)
    wet, _ = decide(dry, terms_of(), NOW + 6, cause)
    assert (wet.state, wet.since, wet.cause) == (SleepState.freeze, NOW, record.cause)


def test_a_hold_adds_no_sleep_when_a_dry_run_ends() -> None:
    """A tenant that stayed awake has no sleep to keep, whatever was decided on paper."""
    dry = replace(sleeping("freeze", [breaker("a@1", "open")]), state=SleepState.active)
    policy = HOLDS | {"breakers": [{"match": "*", "open": "light"}]}
    assert decide(dry, terms_of(policy), NOW + 1, Cause("policy", "policy"))[0].state is SleepState.light


def test_a_decision_that_changes_nothing_returns_the_very_record() -> None:
    """So that the fold sees at once that there is nothing to publish."""
    record = sleeping("freeze", [breaker("a@1", "open")])
    assert decide(record, terms_of(), NOW + 5, EVENT) == (record, None)
    assert decide(record, terms_of(), NOW + 5, EVENT)[0] is record


def test_falling_asleep_ramps_by_deepen_and_waking_by_wake() -> None:
    """The direction is that of `state`."""
    terms = terms_of({"ramp_seconds": {"deepen": 2, "wake": 7}})
    asleep, _ = decide(sleeping("active", [breaker("a@1", "open")]), terms, NOW, EVENT)
    assert (asleep.ramp.starts_at, asleep.ramp.ends_at) == (NOW, NOW + 2000)
    awake, _ = decide(replace(asleep, claims={}), terms, NOW + 1000, EVENT)
    assert (awake.ramp.starts_at, awake.ramp.ends_at) == (NOW + 1000, NOW + 8000)
    assert awake.ramp.start == asleep.ramp.at(NOW + 1000)


def test_another_schedule_for_the_present_state_ramps_by_wake() -> None:
    """From the values reached; it is no transition."""
    constant = {name: {"K": 9, "t": 1, "tau": 1, "eta": 0, "lambda": 0, "B": 1} for name in LABELS}
    terms = terms_of({"schedule": constant, "ramp_seconds": {"deepen": 2, "wake": 7}})
    record = sleeping("freeze", [breaker("a@1", "open")])
    moved, change = decide(record, terms, NOW + 5, EVENT)
    assert change is None
    assert (moved.ramp.start, moved.ramp.target.K) == (record.ramp.target, 9)
    assert moved.ramp.ends_at - moved.ramp.starts_at == 7000


def naive_wanted(claims: Claims, terms: Terms) -> SleepState:
    """Decide by the words of specification.md#decision, a hold aside."""
    for claim in claims.values():
        if claim.source == "pin" and claim.state is not None:
            return claim.state
    asked = [claim.state for claim in claims.values() if claim.source != "breaker" and claim.state is not None]
    for name in {key.split("@")[0] for source, key in claims if source == "breaker"}:
        rule = terms.policy.rule_of(name)
        depths = sorted(
            (depth_of(claim, terms) for (_, key), claim in claims.items() if key.split("@")[0] == name),
            reverse=True,
        )
        asked.append(depths[rule.quorum - 1] if len(depths) >= rule.quorum else SleepState.active)
    return min(max([SleepState.active, terms.policy.floor, *asked]), terms.ceiling)


@QUICK
@given(tenants())
def test_every_decision_is_that_of_the_definition(tenant: Tenant) -> None:
    """Over random claims of all sources, quorums, floors and ceilings."""
    claims = tenant.record.claims
    assert wanted(claims, tenant.terms) is naive_wanted(claims, tenant.terms)


@QUICK
@given(tenants())
def test_the_order_of_the_claims_does_not_matter(tenant: Tenant) -> None:
    """A decision is a function of the set of claims."""
    turned = dict(reversed(tenant.record.claims.items()))
    assert deepest(turned, tenant.terms) is deepest(tenant.record.claims, tenant.terms)


@QUICK
@given(tenants())
def test_taking_a_decision_again_at_once_changes_nothing(tenant: Tenant) -> None:
    """A decision is stable until something happens."""
    record = tenant.record
    assert decide(record, tenant.terms, record.clock, EVENT) == (record, None)


@QUICK
@given(tenants())
def test_every_decision_is_bounded_and_reversible(tenant: Tenant) -> None:
    """Every sleep ends with its claims, and parameters come to rest at the schedule's own numbers."""
    assert_bounded(tenant.record, tenant.terms)
    assert_reversible(tenant.record, tenant.terms)


@QUICK
@given(tenants())
def test_what_is_held_is_deeper_than_what_is_asked_for(tenant: Tenant) -> None:
    """And `held_until` is there exactly while something is held."""
    record, terms = tenant.record, tenant.terms
    target = wanted(record.claims, terms)
    assert (record.held_until is not None) == (record.decided > target)
    assert record.held_until == held_until(record, target, terms, record.clock)
    assert record.decided >= target
