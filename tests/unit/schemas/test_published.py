"""State records read back: what was shown is the record, and what is no state record is refused."""

from typing import Any

import pytest
from hypothesis import given
from msgspec.structs import replace
from pydantic_core import from_json, to_json

from schemas.domain.record import pack
from schemas.domain.sealing import NewerCodeError
from schemas.wire.state_record import parse_position, parse_state_record
from schemas.wire.tenant_view import state_record
from tests.support.claims import QUICK, Tenant, breaker, folded, mode, operation, pin, tenants
from tests.support.times import NOW


def published(tenant: Tenant) -> dict[str, Any]:
    """Return the state record as a reader of the topic gets it."""
    document: dict[str, Any] = from_json(to_json(state_record("acme", 3, tenant.record, tenant.terms)))
    return document


@QUICK
@given(tenants())
def test_a_state_record_read_back_is_the_record(tenant: Tenant) -> None:
    """Every field of it, and packed the same but for the order of the claims, which means nothing."""
    record = replace(tenant.record, offset=7)
    records = parse_state_record(published(tenant._replace(record=record)))
    assert records == record
    schedule = tenant.terms.schedule
    ordered = replace(record, claims=dict(sorted(record.claims.items())))
    assert pack(records, schedule) == pack(ordered, schedule)


def test_the_time_of_a_breaker_and_the_words_of_people_survive() -> None:
    """Claims of all sources with all that they hold."""
    claims = [
        replace(breaker("a@1", "half_open", NOW + 1), occurred_at=NOW - 5, reason="timeouts"),
        mode("deep"),
        operation("op-1", "light", NOW + 9),
        pin("freeze", NOW + 7),
    ]
    tenant = folded(claims, {"min_sleep_seconds": 5})
    assert parse_state_record(published(tenant)) == tenant.record


@pytest.mark.parametrize(
    "change",
    [
        {"position": "3"},
        {"position": "3:x"},
        {"position": 7},
        {"state": 3},
        {"clock": "now"},
        {"since": True},
        {"held_until": 1.5},
        {"cause": {"kind": 3, "key": None}},
        {"claims": [{}]},
        {"claims": None},
        {"policy": {"floor": "nowhere"}},
        {"parameters": {"from": {}, "to": {}, "starts_at": 0, "ends_at": 0}},
    ],
    ids=str,
)
def test_what_is_no_state_record_is_refused(change: dict[str, Any]) -> None:
    """By a ValueError, whatever is wrong."""
    with pytest.raises(ValueError, match="not a"):
        parse_state_record(published(folded([breaker("a@1", "open")])) | change)


@pytest.mark.parametrize(
    "change", [{"source": 3}, {"breaker_state": None}, {"breaker_state": 3}, {"key": "a"}], ids=str
)
def test_a_claim_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    """A breaker's claim without a breaker's state or instance would fail in the next decision."""
    document = published(folded([breaker("a@1", "open")]))
    document["claims"][0] |= change
    with pytest.raises(ValueError, match="not a state record"):
        parse_state_record(document)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": "drowsy"}, "state 'drowsy'"),
        ({"decided": "drowsy"}, "state 'drowsy'"),
        ({"cause": {"kind": "completed", "key": None}}, "cause 'completed'"),
        ({"policy": {"floor_at": "light"}}, "policy field 'floor_at'"),
        ({"claims": [{"source": "calendar", "key": "a@1", "breaker_state": None}]}, "claim source 'calendar'"),
        ({"claims": [{"source": "breaker", "key": "a@1", "breaker_state": "isolated"}]}, "breaker state 'isolated'"),
    ],
)
def test_a_name_that_is_unknown_is_of_a_newer_release(change: dict[str, Any], words: str) -> None:
    """A rebuild by an older release stops there and asks for an upgrade."""
    with pytest.raises(NewerCodeError, match=f"^{words} is of a newer release; upgrade"):
        parse_state_record(published(folded([breaker("a@1", "open")])) | change)


def test_a_parameter_that_is_no_number_is_refused() -> None:
    """A ramp is arithmetic."""
    document = published(folded([]))
    document["parameters"]["from"]["K"] = "100"
    with pytest.raises(ValueError, match="parameters"):
        parse_state_record(document)


def test_a_position_is_partition_and_offset() -> None:
    """As readers see it."""
    assert parse_position("3:1042") == (3, 1042)
