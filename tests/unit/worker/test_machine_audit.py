"""The audit rows: their order, ids, columns, and which are null."""

from typing import Any

import pytest

from schemas.domain.policy import BUILT_IN_RULES
from tests.support.events import Document, breaker, cancel, mode, pin, policy, sleep, timer
from tests.support.times import MINUTE, SECOND, T
from tests.unit.worker.compared_tenant import Tenant

OWN = {"actor": "ops@acme", "reason": "batch job", "decision_id": "opa-1"}


def rows(tenant: Tenant) -> list[Document]:
    """Return the last event's rows."""
    return [row.as_json() for row in tenant.last.rows]


def test_a_breakers_transition_has_these_columns() -> None:
    """Its reason is the event's cause."""
    tenant = Tenant()
    tenant(breaker("open", cause="timeouts"), T)
    assert rows(tenant) == [
        {
            "id": "0:42:0", "kind": "transition", "tenant": "acme", "from": "active", "to": "freeze",
            "cause": {"kind": "breaker", "key": "payments@1"}, "event_id": "e-1", "event_type": "sleep.breaker.v1",
            "operation_id": None, "actor": None, "reason": "timeouts", "code": None, "decision": None,
            "decision_id": None, "enforced": True, "at": T, "position": "0:42", "rules": BUILT_IN_RULES.digest,
        }
    ]  # fmt: skip


def test_a_commands_outcome_follows_its_transition() -> None:
    """Both name who asked, why, and by which decision of the policy engine."""
    tenant = Tenant()
    tenant(sleep("op", "deep", **OWN), T)
    moved, outcome = rows(tenant)
    common: dict[str, Any] = {"operation_id": "op", "from": "active", "to": "deep", "code": None, "at": T, **OWN}
    assert moved.items() >= (common | {"id": "0:42:0", "kind": "transition", "decision": None}).items()
    assert outcome.items() >= (common | {"id": "0:42:1", "kind": "outcome", "cause": None}).items()
    assert len(outcome["decision"]) == 32


def test_a_command_that_changes_no_decision_has_an_outcome_alone() -> None:
    """From and to are the same."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(sleep("op", "deep"), T)
    assert [(row["kind"], row["from"], row["to"]) for row in rows(tenant)] == [("outcome", "freeze", "freeze")]


def test_rows_come_in_the_order_of_the_steps_and_are_counted_up() -> None:
    """What fell due, the rules, the event, its outcome; those of time and rules are nobody's."""
    tenant = Tenant()
    tenant(sleep("a", "freeze", SECOND), T)
    tenant(mode("m", "deep"), T)
    tenant.follow({"policy": {"ceiling": "light"}})
    tenant(mode("off", "active", **OWN), T + MINUTE)
    written = rows(tenant)
    assert [(row["id"], row["kind"], (row["cause"] or {}).get("kind")) for row in written] == [
        ("0:45:0", "transition", "expired"),
        ("0:45:1", "transition", "rules"),
        ("0:45:2", "transition", "mode"),
        ("0:45:3", "outcome", None),
    ]
    for row in written[:2]:
        assert [row[name] for name in ("operation_id", "actor", "reason", "decision_id")] == [None] * 4
    for row in written[2:]:
        assert row["operation_id"] == "off"
        assert row.items() >= OWN.items()
    assert [row["at"] for row in written] == [T + SECOND, T + MINUTE, T + MINUTE, T + MINUTE]
    assert {row["position"] for row in written} == {"0:45"}
    assert {(row["event_id"], row["event_type"]) for row in written} == {("e-1", "sleep.mode.v1")}


def test_a_breaker_whose_event_changes_no_decision_writes_no_row() -> None:
    """Neither a renewal, nor an idle one, nor a shallower one."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    for event in (breaker("open"), breaker("closed", "b@1"), breaker("half_open", "c@1")):
        tenant(event, T + 1)
        assert rows(tenant) == []


def test_a_refused_breaker_event_has_a_row_with_its_code() -> None:
    """And no digest of a decision."""
    tenant = Tenant()
    tenant(breaker("open", occurred_at=T + MINUTE + 1, cause="timeouts"), T)
    (row,) = rows(tenant)
    assert (row["kind"], row["code"], row["decision"]) == ("refusal", "clock_skew", None)
    assert (row["reason"], row["cause"], row["from"], row["to"]) == ("timeouts", None, "active", "active")


@pytest.mark.parametrize("repeat", [sleep("op", **OWN), sleep("op", "light", **OWN)])
def test_a_repeat_has_a_row_of_its_own(repeat: Document) -> None:
    """With the digest of what it asked, which tells whether it was the same."""
    tenant = Tenant()
    tenant(sleep("op"), T)
    (_, first) = rows(tenant)
    tenant(repeat, T)
    (row,) = rows(tenant)
    assert row["kind"] == "refusal"
    assert (row["decision"] == first["decision"]) is (row["code"] == "duplicate_operation")
    assert row["actor"] == OWN["actor"]


def test_the_cause_of_a_cancel_is_the_operation_cancelled() -> None:
    """While its row belongs to the cancel."""
    tenant = Tenant()
    tenant(sleep("op"), T)
    tenant(cancel("stop", "op"), T)
    moved, outcome = rows(tenant)
    assert moved["cause"] == {"kind": "cancel", "key": "op"}
    assert (moved["operation_id"], outcome["operation_id"]) == ("stop", "stop")


def test_setting_and_removing_a_pin_have_the_same_cause() -> None:
    """`pin`, `pin`."""
    tenant = Tenant()
    tenant(pin("p", "deep"), T)
    assert rows(tenant)[0]["cause"] == {"kind": "pin", "key": "pin"}
    tenant(mode("off", "active", override=True), T)
    assert rows(tenant)[0]["cause"] == {"kind": "pin", "key": "pin"}


def test_rows_say_whether_the_policy_enforces_after_the_event() -> None:
    """A policy that begins a dry run says so in its own rows."""
    tenant = Tenant()
    tenant(breaker("open"), T)
    tenant(policy("p", {"enforce": False}), T)
    assert [(row["kind"], row["enforced"]) for row in rows(tenant)] == [("transition", False), ("outcome", False)]
    tenant(policy("q", {"enforce": 7}), T)
    assert [(row["kind"], row["enforced"]) for row in rows(tenant)] == [("refusal", False)]
    tenant(policy("r", None), T)
    assert [(row["kind"], row["enforced"]) for row in rows(tenant)] == [("transition", True), ("outcome", True)]


def test_a_timers_rows_are_nobodys() -> None:
    """They name the timer as their event."""
    tenant = Tenant()
    tenant(sleep("op", "deep", SECOND, **OWN), T)
    tenant(timer(), T + SECOND)
    (row,) = rows(tenant)
    assert (row["event_type"], row["actor"], row["operation_id"]) == ("sleep.timer.v1", None, None)
