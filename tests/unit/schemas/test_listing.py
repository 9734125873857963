"""Until when a tenant is listed: afterwards a reader that knows nothing of it gives the right answer."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.domain.state import SleepState
from schemas.wire.listing import Rest, listed_until, parse_public_state, rest_of, rest_of_record
from schemas.wire.tenant_view import encoded_state, present
from tests.support.claims import QUICK, Tenant, breaker, folded, mode, operation, tenants
from tests.support.times import NOW, SECOND

FAR = 200
"""Milliseconds after which nothing that a strategy draws is left to happen."""


def _until(tenant: Tenant) -> float:
    """Until when a tenant is listed, as a reader of its record finds it."""
    record = parse_public_state(encoded_state("acme", 3, tenant.record, tenant.terms))
    return listed_until(rest_of(record), tenant.rules.terms.schedule[SleepState.active])


def test_a_tenant_is_listed_until_its_last_ramp_has_ended() -> None:
    """The lease ends, and the parameters return within 30 s."""
    assert _until(folded([breaker("a@1", "open", NOW + 5)])) == NOW + 5 + 30 * SECOND


def test_a_sleep_without_an_end_is_listed_for_ever() -> None:
    """Nothing in the record says when it ends."""
    assert _until(folded([mode("deep"), operation("op", "freeze", NOW + 5)])) == math.inf


def test_a_tenant_that_never_slept_is_not_listed() -> None:
    """A reader takes it for what it is."""
    assert _until(folded([breaker("a@1", "closed", NOW + 5)])) == NOW


def test_a_dry_run_is_not_listed() -> None:
    """Its state stays active, whatever is decided. The policy is that of the rules."""
    assert _until(folded([breaker("a@1", "open")], rules={"policy": {"enforce": False}})) == NOW


def test_a_tenant_with_a_policy_of_its_own_is_always_listed() -> None:
    """New rules may change the default active set and not the tenant, and nothing would be published."""
    assert _until(folded([], policy={})) == math.inf


def test_under_another_default_a_tenant_stays_listed() -> None:
    """Its ramp ends at the default of earlier rules."""
    tenant = folded([breaker("a@1", "open", NOW + 5)])
    other = tenant.rules.terms.schedule[SleepState.light]
    assert listed_until(rest_of_record(tenant.record, tenant.terms), other) == math.inf
    assert listed_until(Rest(other, NOW), other) == NOW


@QUICK
@given(tenants())
def test_the_record_in_redis_and_the_public_record_agree(tenant: Tenant) -> None:
    """Rows come from the one, and the tail has the other."""
    public = parse_public_state(encoded_state("acme", 3, tenant.record, tenant.terms))
    assert rest_of(public) == rest_of_record(tenant.record, tenant.terms)


@QUICK
@given(tenants(), st.integers(0, FAR))
def test_an_unlisted_tenant_is_active_with_the_default_set(tenant: Tenant, later: int) -> None:
    """At any time from then on, as the API answers; and until then something is different."""
    until = _until(tenant)
    now = NOW + later
    document = present("acme", 3, tenant.record, [tenant.rules], now)
    default = tenant.rules.terms.schedule[SleepState.active].as_json()
    unknown = (document["state"], document["parameters"]) == ("active", default)
    assert unknown or now < until


@pytest.mark.parametrize("value", [b"", b"null", b"{}", b'{"tenant": "acme"}', b"\xff"])
def test_a_record_that_is_no_state_is_refused(value: bytes) -> None:
    """Never taken for an awake tenant."""
    with pytest.raises(ValueError, match=r"."):
        parse_public_state(value)
