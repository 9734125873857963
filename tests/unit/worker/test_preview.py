"""A preview of a policy, held against the fold of the same policy at the same time."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from schemas.domain.policy import BUILT_IN_RULES, Rules, parse_policy, parse_rules
from schemas.domain.record import Record
from schemas.wire.cloudevents import STRUCTURED_HEADERS, decode
from schemas.wire.events import PolicyEvent
from schemas.wire.tenant_view import present, preview
from tests.support.claims import QUICK, Tenant, breaker, folded, operation, sleeping, tenants
from tests.support.events import event
from tests.support.times import NOW
from worker.fold.fold import At, fold

POLICIES: list[dict[str, Any]] = [
    {},
    {"ceiling": "light"},
    {"floor": "deep"},
    {"enforce": False},
    {"min_sleep_seconds": 0.05},
    {"breakers": [{"match": "a*", "open": "light", "quorum": 2}, {"match": "*", "open": "active"}]},
    {"ramp_seconds": {"deepen": 0.1, "wake": 0.2}},
]
NEWER = [{}, {"policy": {"ceiling": "deep"}}, {"policy": {"breakers": [{"match": "*", "open": "active"}]}}]


def _put(record: Record | None, rules: list[Rules], policy: dict[str, Any], now: int) -> Record:
    """Return the record after the policy came as a command at this time."""
    data = {"operation_id": "op-1", "actor": "ops", "policy": policy}
    read = decode(b"acme", to_json(event("sleep.policy.v1", data)), STRUCTURED_HEADERS)
    assert isinstance(read, PolicyEvent)
    made = fold(record, read, {}, rules, At(3, 99, now)).record
    assert made is not None
    return made


def _assert_same(record: Record | None, rules: list[Rules], policy: dict[str, Any], now: int) -> None:
    shown = preview("acme", 3, record, rules, parse_policy(policy), now)
    real = present("acme", 3, _put(record, rules, policy, now), rules, now)
    position = f"3:{record.offset}" if record is not None and record.offset >= 0 else None
    assert shown == real | {"position": position}


@QUICK
@given(tenants(), st.sampled_from(POLICIES), st.sampled_from(NEWER), st.integers(-50, 200))
def test_what_is_previewed_is_what_a_change_of_policy_does(
    tenant: Tenant, policy: dict[str, Any], newer: dict[str, Any], later: int
) -> None:
    """Whatever fell due and whatever rules came since; also where the log's clock is ahead of ours."""
    rules = [tenant.rules, parse_rules(1, newer)] if newer else [tenant.rules]
    now = tenant.record.clock + later
    _assert_same(tenant.record, rules, policy, now)


@QUICK
@given(st.sampled_from(POLICIES))
def test_a_tenant_never_seen_has_a_preview_too(policy: dict[str, Any]) -> None:
    """Of the record that the change would make."""
    _assert_same(None, [BUILT_IN_RULES], policy, NOW)


def test_a_preview_settles_before_it_decides() -> None:
    """A claim that ended is no reason for sleep, and what was held may be so no longer."""
    tenant = folded([operation("op-1", "deep", NOW + 10), breaker("a@1", "open", NOW + 20)])
    shown = preview("acme", 3, tenant.record, [tenant.rules], parse_policy({"ceiling": "light"}), NOW + 30)
    assert (shown["state"], shown["claims"], shown["cause"]) == ("active", [], {"kind": "expired", "key": "a@1"})
    assert shown["since"] == NOW + 20


def test_a_preview_leaves_the_record_alone() -> None:
    """It is looked at, not changed."""
    record = sleeping("freeze", [breaker("a@1", "open")])
    before = present("acme", 3, record, [BUILT_IN_RULES], NOW)
    after = preview("acme", 3, record, [BUILT_IN_RULES], parse_policy({"ceiling": "light"}), NOW + 5)
    assert (before["state"], after["state"]) == ("freeze", "light")
    assert present("acme", 3, record, [BUILT_IN_RULES], NOW) == before
