"""The forecast is what settling will record, and a reader needs nothing else to know the present."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.domain.deadlines import Forecast, forecast, settle
from schemas.domain.policy import Terms
from schemas.domain.record import Record
from schemas.domain.state import SleepState
from schemas.wire.tenant_view import present, state_record
from tests.support.claims import QUICK, Tenant, breaker, folded, mode, operation, pin, tenants
from tests.support.invariants import assert_monotone
from tests.support.times import NOW

FAR = 200
"""Milliseconds after which nothing that a strategy draws is left to happen."""


def simulated(record: Record, terms: Terms) -> list[Forecast]:
    """Settle millisecond by millisecond and note each change of `state`."""
    seen = []
    for now in range(NOW, NOW + FAR):
        after, _ = settle(record, terms, now)
        if after.state is not record.state:
            seen.append(Forecast(now, after.state, after.ramp))
        record = after
    return seen


def forecast_of(*claims: Any, policy: dict[str, Any] | None = None) -> list[tuple[str, int]]:  # noqa: ANN401 - claims
    """Return the forecast of a tenant with these claims."""
    tenant = folded(claims, policy)
    return [(entry.state.label, entry.at) for entry in forecast(tenant.record, tenant.terms)]


def test_a_sleep_without_an_end_has_no_forecast() -> None:
    """Nothing will change by itself."""
    assert forecast_of(mode("deep"), operation("op", "light", NOW + 5)) == []


def test_a_tenant_awake_has_no_forecast() -> None:
    """Nor has one whose claims ask for nothing."""
    assert forecast_of() == forecast_of(breaker("a@1", "closed", NOW + 5)) == []


def test_each_step_of_a_waking_is_forecast() -> None:
    """With the time of each."""
    assert forecast_of(breaker("a@1", "open", NOW + 5), operation("op", "deep", NOW + 9), mode("light")) == [
        ("deep", NOW + 5),
        ("light", NOW + 9),
    ]


def test_a_name_sleeps_until_the_kth_latest_end_of_its_instances() -> None:
    """In closed form: no simulation is needed to see it."""
    policy = {"breakers": [{"match": "a", "quorum": 2}]}
    ends = [breaker(f"a@{n}", "open", NOW + n) for n in (1, 5, 9)]
    assert forecast_of(*ends, policy=policy) == [("active", NOW + 5)]


def test_a_floor_stops_the_waking() -> None:
    """The last step is the floor."""
    assert forecast_of(breaker("a@1", "open", NOW + 5), policy={"floor": "light"}) == [("light", NOW + 5)]


def test_the_end_of_a_pin_may_be_followed_by_sleep() -> None:
    """A forecast may deepen."""
    assert forecast_of(pin("active", NOW + 3), breaker("a@1", "open", NOW + 5)) == [
        ("freeze", NOW + 3),
        ("active", NOW + 5),
    ]


def test_a_pin_without_an_end_has_no_forecast() -> None:
    """No command can set one; a record that held one would stay as it is."""
    endless = replace(pin("deep", NOW + 3), expires_at=None)
    assert forecast_of(endless, breaker("a@1", "open", NOW + 5)) == []


def test_a_minimum_sleep_delays_each_step() -> None:
    """Deep is held, and light starts a minimum of its own."""
    policy = {"min_sleep_seconds": 0.02}
    claims = operation("op", "deep", NOW + 5), operation("oq", "light", NOW + 25)
    assert forecast_of(*claims, policy=policy) == [("light", NOW + 20), ("active", NOW + 40)]


def test_a_dry_run_has_no_forecast() -> None:
    """`state` stays active."""
    assert forecast_of(breaker("a@1", "open", NOW + 5), policy={"enforce": False}) == []


@QUICK
@given(tenants())
def test_the_forecast_is_what_settling_will_record(tenant: Tenant) -> None:
    """Every change of `state`, its time and the ramp that it starts, to the last digit."""
    assert forecast(tenant.record, tenant.terms) == simulated(tenant.record, tenant.terms)


@QUICK
@given(tenants())
def test_the_forecast_ends_awake_or_at_what_has_no_end(tenant: Tenant) -> None:
    """And its ramps are monotone."""
    result = forecast(tenant.record, tenant.terms)
    for entry in result:
        assert_monotone(entry.ramp)
    last = result[-1].state if result else tenant.record.state
    settled, _ = settle(tenant.record, tenant.terms, NOW + FAR)
    assert last is settled.state


def read(document: dict[str, Any], now: int) -> tuple[str, dict[str, float]]:
    """Read state and parameters from a state record alone, by the words of specification.md#reading-a-state."""
    state, ramp = document["state"], document["parameters"]
    for entry in document["forecast"]:
        if entry["at"] <= now:
            state, ramp = entry["state"], entry["parameters"]
    if now >= ramp["ends_at"]:
        return state, ramp["to"]
    passed = min(max((now - ramp["starts_at"]) / (ramp["ends_at"] - ramp["starts_at"]), 0), 1)
    return state, {name: start + (ramp["to"][name] - start) * passed for name, start in ramp["from"].items()}


@QUICK
@given(tenants(), st.integers(0, FAR))
def test_a_reader_of_the_record_alone_knows_the_present(tenant: Tenant, later: int) -> None:
    """It needs no configuration and no living worker, and agrees with the API."""
    document = state_record("acme", 3, tenant.record, tenant.terms)
    answer = present("acme", 3, tenant.record, [tenant.rules], NOW + later)
    state, parameters = read(document, NOW + later)
    assert state == answer["state"]
    k = parameters.pop("K")
    assert abs(answer["parameters"]["K"] - k) <= 0.5
    assert {name: answer["parameters"][name] for name in parameters} == parameters


@QUICK
@given(tenants(), st.integers(0, 60), st.integers(0, 60))
def test_reading_just_before_and_after_a_timer_record_gives_the_same_answer(
    tenant: Tenant, fired: int, later: int
) -> None:
    """Whether the fold has noticed what fell due makes no difference to a reader."""
    noticed, _ = settle(tenant.record, tenant.terms, NOW + fired)
    noticed = replace(noticed, clock=NOW + fired, at=NOW + fired)
    now = NOW + fired + later
    before = present("acme", 3, tenant.record, [tenant.rules], now)
    assert present("acme", 3, noticed, [tenant.rules], now) == before


@QUICK
@given(tenants(), st.integers(1, FAR))
def test_a_reader_whose_clock_is_behind_sees_the_record_as_it_is(tenant: Tenant, behind: int) -> None:
    """Clocks of API processes differ from the broker's; that is no error."""
    answer = present("acme", 3, tenant.record, [tenant.rules], NOW - behind)
    assert answer["state"] == tenant.record.state.label
    assert SleepState[answer["decided"]] is tenant.record.decided
