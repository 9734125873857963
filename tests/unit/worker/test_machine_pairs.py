"""Every pair of a present state and a decision, for each kind of claim: what changes, why, and how parameters move."""

from itertools import product

import pytest

from schemas.domain.state import LABELS, SleepState
from tests.support.events import breaker, cancel, mode, pin, policy, sleep
from tests.support.times import HOUR, MINUTE, T
from tests.unit.worker.compared_tenant import Tenant

PAIRS = list(product(LABELS, LABELS))
SLEEPS = [pair for pair in PAIRS if pair[1] != "active"]
RAMPS = {"deepen": 4, "wake": 7}


def tenant_in(state: str, **more: object) -> Tenant:
    """Return a tenant whose mode keeps it in a state since `T`."""
    tenant = Tenant(document={"policy": {"ramp_seconds": RAMPS, **more}})
    tenant(mode("first", state), T)
    assert tenant.state == tenant.decided == state
    return tenant


def assert_moved(tenant: Tenant, before: str, after: str, cause: tuple[str, str], at: int) -> None:
    """The decision went from one state to another, or stayed where both are the same."""
    assert (tenant.state, tenant.decided) == (after, after)
    ramp = tenant.known.ramp
    assert ramp.target == tenant.terms.schedule[tenant.known.state]
    if before == after:
        assert tenant.moves == []
        return
    assert tenant.moves == [(before, after, *cause, at)]
    assert tenant.known.since == at
    seconds = RAMPS["deepen" if LABELS.index(after) > LABELS.index(before) else "wake"]
    assert (ramp.starts_at, ramp.ends_at) == (at, at + 1000 * seconds)
    assert ramp.start == tenant.terms.schedule[SleepState(LABELS.index(before))]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_mode_replaces_the_mode_before_it(before: str, after: str) -> None:
    """There is one mode."""
    tenant = tenant_in(before)
    tenant(mode("second", after), T + MINUTE)
    assert_moved(tenant, before, after, ("mode", "mode"), T + MINUTE)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_pin_alone_decides(before: str, after: str) -> None:
    """Deeper or shallower, whatever else asks."""
    tenant = tenant_in(before)
    tenant(pin("second", after), T + MINUTE)
    assert_moved(tenant, before, after, ("pin", "pin"), T + MINUTE)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_the_end_of_a_pin_gives_the_decision_back_to_the_claims(before: str, after: str) -> None:
    """At the pin's own time, for the reason that it ended."""
    tenant = tenant_in(after)
    tenant(pin("second", before, 10_000), T + MINUTE)
    tenant(breaker("closed"), T + MINUTE + 30_000)
    assert_moved(tenant, before, after, ("pin_ended", "pin"), T + MINUTE + 10_000)


@pytest.mark.parametrize(("before", "after"), SLEEPS)
def test_an_operation_only_deepens(before: str, after: str) -> None:
    """The deepest claim decides, and the shallower is kept."""
    tenant = tenant_in(before)
    tenant(sleep("op", after), T + MINUTE)
    assert_moved(tenant, before, max(before, after, key=LABELS.index), ("operation", "op"), T + MINUTE)
    assert tenant.claim("operation", "op")["state"] == after


@pytest.mark.parametrize(("before", "after"), SLEEPS)
def test_a_cancelled_operation_leaves_what_the_others_ask_for(before: str, after: str) -> None:
    """Cause: the operation cancelled."""
    tenant = tenant_in(before)
    tenant(sleep("op", after), T + 1)
    tenant(cancel("stop", "op"), T + MINUTE)
    assert_moved(tenant, max(before, after, key=LABELS.index), before, ("cancel", "op"), T + MINUTE)
    assert "op" not in tenant.keys


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_breaker_means_what_the_rule_says(before: str, after: str) -> None:
    """An open one what `open` says, a closed one nothing."""
    tenant = tenant_in(before, breakers=[{"match": "*", "open": after}])
    tenant(breaker("open"), T + MINUTE)
    deepest = max(before, after, key=LABELS.index)
    assert_moved(tenant, before, deepest, ("breaker", "payments@1"), T + MINUTE)
    tenant(breaker("closed"), T + 2 * MINUTE)
    assert_moved(tenant, deepest, before, ("breaker", "payments@1"), T + 2 * MINUTE)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_policy_moves_the_decision_by_floor_and_ceiling(before: str, after: str) -> None:
    """A floor raises it and a ceiling cuts it."""
    tenant = tenant_in(before)
    tenant(policy("p", {"floor": after, "ceiling": after, "ramp_seconds": RAMPS}), T + MINUTE)
    assert_moved(tenant, before, after, ("policy", "policy"), T + MINUTE)


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_rules_move_the_decision_by_their_ceiling(before: str, after: str) -> None:
    """They cap every tenant, whatever its policy."""
    tenant = tenant_in(before)
    tenant.follow({"policy": {"ramp_seconds": RAMPS, "ceiling": after}})
    tenant(breaker("closed"), T + MINUTE)
    lower = min(before, after, key=LABELS.index)
    assert tenant.moves == ([] if lower == before else [(before, lower, "rules", None, T + MINUTE)])
    assert tenant.state == lower


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_dry_run_decides_and_stays_awake(before: str, after: str) -> None:
    """With `enforce: false` the decision is published as `decided`, and parameters do not move."""
    tenant = tenant_in(before, enforce=True)
    tenant(policy("p", {"enforce": False, "ramp_seconds": RAMPS}), T + 1)
    assert (tenant.state, tenant.decided, tenant.known.since) == ("active", before, T)
    ramp = tenant.known.ramp
    tenant(mode("second", after), T + MINUTE)
    assert (tenant.state, tenant.decided) == ("active", after)
    assert tenant.moves == ([] if before == after else [(before, after, "mode", "mode", T + MINUTE)])
    assert tenant.known.ramp == ramp
    tenant(policy("q", None), T + 2 * MINUTE)
    assert (tenant.state, tenant.decided) == (after, after)
    assert tenant.moves == ([] if after == "active" else [(after, after, "policy", "policy", T + 2 * MINUTE)])


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_hold_delays_the_shallower_and_never_the_deeper(before: str, after: str) -> None:
    """`decided` stays until `since + min_sleep`, and the record says until when."""
    tenant = Tenant(document={"policy": {"min_sleep_seconds": 3600}})
    tenant(mode("first", before), T)
    tenant(mode("second", after), T + MINUTE)
    held = LABELS.index(after) < LABELS.index(before)
    assert tenant.decided == (before if held else after)
    assert tenant.known.held_until == (T + HOUR if held else None)
    tenant(breaker("closed"), T + HOUR)
    assert tenant.decided == after
    assert tenant.known.held_until is None
    assert tenant.moves == ([(before, after, "hold_ended", None, T + HOUR)] if held else [])
