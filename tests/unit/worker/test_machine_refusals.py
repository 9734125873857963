"""A refused event changes nothing: neither what is shown, nor what is kept, nor what fell due before it."""

import pytest
from msgspec.structs import replace

from tests.support.events import Document, breaker, cancel, mode, pin, policy, sleep
from tests.support.times import HOUR, MINUTE, SECOND, T
from tests.unit.worker.compared_tenant import Tenant

REFUSED = [
    sleep("no", ttl_ms=0),
    sleep("no", not_after=0),
    sleep("used", "light", ttl_ms=7),
    sleep("used", "deep", MINUTE),
    cancel("no", "nothing"),
    mode("no", "active", 5),
    pin("no", "freeze", None),
    policy("no", {"floor": 1}),
    policy("no", {}, if_version=9),
    breaker("closed", occurred_at=T - HOUR),
    breaker("closed", occurred_at=T + HOUR),
]


@pytest.mark.parametrize("event", REFUSED)
def test_a_refused_event_changes_nothing_but_the_clock(event: Document) -> None:
    """Neither what is shown nor what is kept."""
    tenant = Tenant()
    tenant(sleep("used"), T)
    tenant(breaker("open", occurred_at=T), T)
    before, operations = tenant.known, dict(tenant.operations)
    tenant(event, T + 1)
    assert len(tenant.codes) == 1
    assert tenant.known == replace(before, clock=T + 1)
    assert not tenant.last.published
    assert len(tenant.last.rows) == 1
    assert {key: tenant.operations[key] for key in operations} == operations


@pytest.mark.parametrize("event", REFUSED)
def test_a_refused_event_does_not_undo_what_fell_due(event: Document) -> None:
    """Steps 1 to 3 stand, and their rows go before the refusal's."""
    tenant = Tenant()
    tenant(sleep("used"), T)
    tenant(breaker("open", "b@1"), T)
    tenant(breaker("half_open", occurred_at=T), T + 2 * MINUTE)
    tenant.follow({"policy": {"ceiling": "light"}})
    tenant(event, T + 901 * SECOND)
    assert [row.kind for row in tenant.last.rows] == ["transition", "refusal"]
    assert (tenant.state, tenant.known.rules_number, tenant.last.published) == ("light", 1, True)
    row = tenant.last.rows[-1].as_json()
    assert (row["from"], row["to"]) == ("light", "light")


@pytest.mark.parametrize(
    "event", [event for event in REFUSED if "used" not in str(event) and "closed" not in str(event)]
)
def test_a_tenant_without_a_record_stays_without_one_after_a_refused_command(event: Document) -> None:
    """Nothing is published; the command is remembered all the same."""
    tenant = Tenant()
    tenant(event, T)
    assert (tenant.record, tenant.last.published, len(tenant.codes)) == (None, False, 1)
    tenant(event, T)
    assert tenant.codes == ["duplicate_operation"]
    assert tenant.record is None
    row = tenant.last.rows[-1].as_json()
    assert (row["from"], row["to"], row["at"]) == ("active", "active", T)
