"""Breaker events: leases and their renewal, order, and the limit on their number."""

from typing import get_args

import pytest
from msgspec.structs import replace

from schemas.domain.state import BreakerState
from tests.support.events import Document, breaker, mode, policy, timer
from tests.support.times import HOUR, MINUTE, SECOND, T
from tests.unit.worker.compared_tenant import Tenant

LEASE = 900 * SECOND
ISO = "2026-11-22T08:07:17.992Z"
ISO_MS = 1_795_334_837_992


@pytest.mark.parametrize("state", get_args(BreakerState))
def test_every_state_makes_a_claim_and_a_record(state: BreakerState) -> None:
    """A closed one too: its claim keeps the order of its events."""
    tenant = Tenant()
    tenant(breaker(state, cause="timeouts"), T)
    claim = tenant.claim("breaker", "payments@1")
    assert (claim["breaker_state"], claim["since"], claim["reason"], claim["actor"]) == (state, T, "timeouts", None)
    assert claim["expires_at"] == (None if state == "forced_open" else T + LEASE)
    assert (tenant.known.version, tenant.last.published) == (1, True)
    deep = {"open": "freeze", "forced_open": "freeze", "half_open": "light"}
    assert tenant.state == deep.get(state, "active")


@pytest.mark.parametrize(
    ("state", "rule", "lease_ms"),
    [
        ("open", {"lease_seconds": 0.001}, 1),
        ("open", {"lease_seconds": 60}, MINUTE),
        ("open", {"lease_seconds": 0}, None),
        ("half_open", {"lease_seconds": 0}, None),
        ("forced_open", {"lease_seconds": 60}, None),
        ("closed", {"lease_seconds": 60}, MINUTE),
        ("closed", {"lease_seconds": 0}, LEASE),
        ("forced_open", {"open": "active", "lease_seconds": 0}, LEASE),
        ("forced_open", {"open": "active", "lease_seconds": 60}, MINUTE),
        ("half_open", {"half_open": "active", "lease_seconds": 0}, LEASE),
    ],
)
def test_a_claim_gets_the_lease_of_its_rule(state: str, rule: Document, lease_ms: int | None) -> None:
    """None for `forced_open` and a lease of 0, and 900 s for a claim that means active where the rule has none."""
    tenant = Tenant(document={"policy": {"breakers": [{"match": "pay*", **rule}]}})
    tenant(breaker(state), T)
    assert tenant.claim("breaker", "payments@1")["expires_at"] == (None if lease_ms is None else T + lease_ms)


def test_an_emitter_that_died_cannot_freeze_a_tenant_for_ever() -> None:
    """Its claim ends with its lease."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(timer(), T + LEASE - 1)
    assert tenant.state == "freeze"
    tenant(timer(), T + LEASE)
    assert tenant.moves == [("freeze", "active", "expired", "payments@1", T + LEASE)]


@pytest.mark.parametrize(
    ("passed", "moved"),
    [(0, False), (1, False), (LEASE // 4, False), (LEASE // 4 + 1, True), (LEASE - 1, True)],
)
def test_a_renewal_moves_the_end_when_less_than_three_quarters_are_left(passed: int, moved: bool) -> None:  # noqa: FBT001
    """So that heartbeats cost little outside: what does not move is not published."""
    tenant = Tenant()
    tenant(breaker("open", cause="first"), T)
    tenant(breaker("open", cause="second"), T + passed)
    claim = tenant.claim("breaker", "payments@1")
    assert claim["expires_at"] == T + LEASE + (passed if moved else 0)
    assert (claim["since"], claim["reason"]) == (T, "first"), "a renewal keeps both"
    assert (tenant.last.published, tenant.known.version) == (moved, 1 + moved)
    assert tenant.last.rows == ()
    assert tenant.known.clock == T + passed


def test_a_renewal_shortens_a_lease_that_is_longer_than_the_present_one() -> None:
    """A policy changed; leases are set by the claim's own events only."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(policy("p", {"breakers": [{"match": "*", "lease_seconds": 60}]}), T + 1)
    assert tenant.claim("breaker", "payments@1")["expires_at"] == T + LEASE
    tenant(breaker("open"), T + 2)
    assert tenant.claim("breaker", "payments@1")["expires_at"] == T + 2 + MINUTE


@pytest.mark.parametrize(("before", "after"), [(0, 60), (60, 0)])
def test_a_renewal_gives_or_takes_a_lease_where_the_rule_changed(before: int, after: int) -> None:
    """Where it had none, or gets none."""
    tenant = Tenant()
    tenant(policy("p", {"breakers": [{"match": "*", "lease_seconds": before}]}), T)
    tenant(breaker("open"), T)
    tenant(policy("q", {"breakers": [{"match": "*", "lease_seconds": after}]}), T)
    tenant(breaker("open"), T + 1)
    assert tenant.claim("breaker", "payments@1")["expires_at"] == (T + 1 + after * SECOND if after else None)


def test_another_state_is_no_renewal() -> None:
    """It sets `since`, the reason and the whole lease anew."""
    tenant = Tenant()
    tenant(breaker("open", cause="first"), T)
    tenant(breaker("half_open", cause="second"), T + 1)
    claim = tenant.claim("breaker", "payments@1")
    assert (claim["since"], claim["reason"], claim["expires_at"]) == (T + 1, "second", T + 1 + LEASE)
    assert tenant.moves == [("freeze", "light", "breaker", "payments@1", T + 1)]


def test_open_and_forced_open_mean_the_same_and_are_two_states() -> None:
    """The claim changes, the decision does not, and no audit row is written."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(breaker("forced_open"), T + 1)
    assert tenant.claim("breaker", "payments@1")["since"] == T + 1
    assert (tenant.last.published, tenant.last.rows) == (True, ())


def test_an_event_older_than_the_last_accepted_is_refused() -> None:
    """Whatever order the log has them in."""
    tenant = Tenant()
    tenant(breaker("open", occurred_at=T - 10), T)
    tenant(breaker("closed", occurred_at=T - 11), T + 1)
    assert tenant.codes == ["stale_event"]
    assert tenant.claim("breaker", "payments@1")["breaker_state"] == "open"
    tenant(breaker("closed", occurred_at=T - 10), T + 2)
    assert tenant.state == "active", "the same time is not earlier"


def test_a_refused_event_does_not_count_for_the_order() -> None:
    """Only accepted ones do."""
    tenant = Tenant()
    tenant(breaker("open", occurred_at=T), T)
    tenant(breaker("closed", occurred_at=T + MINUTE + 1), T)
    tenant(breaker("half_open", occurred_at=T + 1), T + 1)
    assert tenant.state == "light"


@pytest.mark.parametrize(("first", "second"), [(None, T - 5), (T - 5, None), (None, None)])
def test_the_logs_order_stands_where_one_has_no_time(first: int | None, second: int | None) -> None:
    """The claim keeps the time of the last one, or none."""
    tenant = Tenant()
    tenant(breaker("open", occurred_at=first), T)
    tenant(breaker("closed", occurred_at=second), T + 1)
    assert tenant.state == "active"
    assert tenant.claim("breaker", "payments@1")["occurred_at"] == second


def test_a_renewal_without_a_time_takes_the_time_from_the_claim() -> None:
    """Its last accepted event had none."""
    tenant = Tenant()
    tenant(breaker("open", occurred_at=T), T)
    tenant(breaker("open"), T + 1)
    assert tenant.claim("breaker", "payments@1")["occurred_at"] is None
    assert not tenant.last.published
    tenant(breaker("closed", occurred_at=T - HOUR), T + 2)
    assert tenant.state == "active"


def test_the_cloudevents_time_stands_in_for_the_field() -> None:
    """The field goes first."""
    tenant = Tenant()
    tenant(breaker("open", time=ISO), T)
    assert tenant.claim("breaker", "payments@1")["occurred_at"] == ISO_MS
    tenant(breaker("open", time=ISO, occurred_at=ISO_MS + 3), T)
    assert tenant.claim("breaker", "payments@1")["occurred_at"] == ISO_MS + 3
    tenant(breaker("closed", time=ISO), T)
    assert tenant.codes == ["stale_event"]


@pytest.mark.parametrize(("ahead", "refused"), [(MINUTE, False), (MINUTE + 1, True)])
def test_an_emitters_clock_may_be_a_minute_ahead_of_the_log(ahead: int, refused: bool) -> None:  # noqa: FBT001
    """Of the record's own timestamp, not of the tenant's clock."""
    tenant = Tenant()
    tenant(breaker("closed", "other@1"), T + HOUR)
    tenant(breaker("open", occurred_at=T + ahead), T)
    assert tenant.codes == (["clock_skew"] if refused else [])
    assert tenant.keys == (["other@1"] if refused else ["other@1", "payments@1"])


def test_a_wrong_clock_in_the_cloudevents_time_is_refused_too() -> None:
    """As in the field."""
    tenant = Tenant()
    tenant(breaker("open", time=ISO), ISO_MS - MINUTE - 1)
    assert tenant.codes == ["clock_skew"]
    assert tenant.record is None


def test_clock_skew_is_checked_before_staleness_and_staleness_before_room() -> None:
    """In the order of specification.md#commands."""
    tenant = Tenant(document={"policy": {"breakers": [{"match": "*", "lease_seconds": 0}]}})
    tenant.begin_with([breaker("open", f"b@{number:03}", occurred_at=T + MINUTE) for number in range(256)], T)
    tenant(breaker("closed", "b@000", occurred_at=T + MINUTE - 1), T)
    assert tenant.codes == ["stale_event"]
    tenant(breaker("open", "new@1", occurred_at=T + MINUTE + 1), T)
    assert tenant.codes == ["clock_skew"]
    tenant(breaker("open", "new@1"), T)
    assert tenant.codes == ["too_many_claims"]


def full(*idle: tuple[str, int]) -> Tenant:
    """Return a tenant with 256 breaker claims: some that mean active, told at their times, and the others open."""
    document = {"breakers": [{"match": "open*", "lease_seconds": 0}, {"match": "*", "lease_seconds": 60}]}
    tenant = Tenant(document={"policy": document})
    for name, passed in idle:
        tenant(breaker("closed", name), T + passed)
    tenant.begin_with([breaker("open", f"open@{number}") for number in range(256 - len(idle))], T + 10)
    assert len(tenant.known.claims) == 256
    return tenant


def test_at_256_a_new_breaker_that_means_active_is_accepted_and_not_kept() -> None:
    """It would only take room from one that matters."""
    tenant = full(("idle@1", 0))
    before = tenant.known
    tenant(breaker("closed", "new@1"), T + 20)
    assert tenant.codes == []
    assert tenant.known == replace(before, clock=T + 20)
    assert tenant.last.rows == ()


def test_at_256_a_new_breaker_takes_the_place_of_the_idle_one_that_ends_first() -> None:
    """Among those that end at the same time, of the smallest key."""
    tenant = full(("idle@c", 0), ("idle@b", 1), ("idle@a", 1), ("idle@d", 2))
    for number, gone in enumerate(["idle@c", "idle@a", "idle@b", "idle@d"]):
        assert gone in tenant.keys
        tenant(breaker("open", f"new@{number}"), T + 20)
        assert tenant.codes == []
        assert gone not in tenant.keys
        assert f"new@{number}" in tenant.keys
    tenant(breaker("open", "new@5"), T + 20)
    assert tenant.codes == ["too_many_claims"]
    assert len(tenant.known.claims) == 256


def test_an_idle_claim_without_an_end_goes_last() -> None:
    """A change of policy can leave one."""
    tenant = full(("idle@z", 0))
    tenant(policy("p", {"breakers": [{"match": "open", "open": "active", "lease_seconds": 0}]}), T + 20)
    tenant(breaker("open", "new@1"), T + 20)
    assert "idle@z" not in tenant.keys
    tenant(breaker("open", "new@2"), T + 20)
    assert "open@0" not in tenant.keys
    assert "open@1" in tenant.keys


def test_other_claims_take_no_room_from_breakers() -> None:
    """The limit counts breakers."""
    tenant = Tenant()
    tenant(mode("m", "light"), T)
    tenant.begin_with([breaker("open", f"b@{number}") for number in range(256)], T)
    assert len(tenant.known.claims) == 257
    tenant(breaker("half_open", "b@0"), T)
    assert tenant.codes == [], "one that is known needs no room"
    tenant(breaker("open", "b@256"), T)
    assert tenant.codes == ["too_many_claims"]


def test_a_quorum_counts_instances() -> None:
    """A name is as deep as the k-th deepest of its instances' claims."""
    tenant = Tenant(document={"policy": {"breakers": [{"match": "payments", "quorum": 2}]}})
    tenant(breaker("open", "payments@1"), T)
    assert tenant.state == "active"
    tenant(breaker("half_open", "payments@2"), T + 1)
    assert tenant.moves == [("active", "light", "breaker", "payments@2", T + 1)]
    tenant(breaker("open", "payments@2"), T + 2)
    assert tenant.state == "freeze"
    tenant(breaker("closed", "payments@1"), T + 3)
    assert tenant.state == "active"


def test_an_instance_may_hold_an_at_sign() -> None:
    """A name may not."""
    tenant = Tenant(document={"policy": {"breakers": [{"match": "payments", "open": "deep"}]}})
    document = breaker("open", "payments@")
    document["data"]["instance"] = "pod@zone@1"
    tenant(document, T)
    assert tenant.keys == ["payments@pod@zone@1"]
    assert tenant.state == "deep"
