"""What readers are shown, held against the models of the documents."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic_core import from_json, to_json

from schemas.domain.claim import Cause
from schemas.domain.policy import BUILT_IN_RULES, parse_policy, parse_rules
from schemas.domain.record import Record, new_record
from schemas.wire.documents import RulesRecord, SleepModeDocument, StateRecord
from schemas.wire.tenant_view import present, shows_the_same, state_record
from tests.support.claims import QUICK, Tenant, breaker, claims_of, folded, mode, operation, tenants, terms_of
from tests.support.times import NOW


@QUICK
@given(tenants())
def test_every_state_record_is_what_its_model_says(tenant: Tenant) -> None:
    """No field more, none less, and it survives JSON."""
    document = state_record("acme", 3, tenant.record, tenant.terms)
    StateRecord.model_validate(document)
    assert from_json(to_json(document)) == document


@QUICK
@given(tenants(), st.integers(0, 100))
def test_every_answer_about_the_present_is_what_its_model_says(tenant: Tenant, later: int) -> None:
    """At any time, also inside of a ramp."""
    SleepModeDocument.model_validate(present("acme", 3, tenant.record, [tenant.rules], NOW + later))


def test_the_state_record_is_that_of_the_design() -> None:
    """Field by field, for a breaker that opened."""
    claim = breaker("payments@pod-1", "open", NOW + 900_000)
    tenant = folded([claim])
    record = replace(tenant.record, cause=Cause("breaker", "payments@pod-1"), offset=1042, version=7)
    awake = {"K": 100, "t": 1.0, "tau": 0.1, "eta": 0.01, "lambda": 0.5, "B": 1.0}
    frozen = {"K": 1, "t": 0.1, "tau": 1e-6, "eta": 0, "lambda": 0, "B": 2.0}
    assert state_record("acme", 3, record, tenant.terms) == {
        "tenant": "acme",
        "state": "freeze",
        "decided": "freeze",
        "since": NOW,
        "cause": {"kind": "breaker", "key": "payments@pod-1"},
        "claims": [
            {
                "source": "breaker",
                "key": "payments@pod-1",
                "state": "freeze",
                "breaker_state": "open",
                "occurred_at": None,
                "since": NOW,
                "expires_at": NOW + 900_000,
                "actor": None,
                "reason": None,
            }
        ],
        "parameters": {"from": awake, "to": frozen, "starts_at": NOW, "ends_at": NOW},
        "forecast": [
            {
                "at": NOW + 900_000,
                "state": "active",
                "parameters": {
                    "from": frozen,
                    "to": awake,
                    "starts_at": NOW + 900_000,
                    "ends_at": NOW + 930_000,
                },
            }
        ],
        "policy": None,
        "policy_version": 0,
        "next_deadline": NOW + 900_000,
        "held_until": None,
        "at": NOW,
        "clock": NOW,
        "position": "3:1042",
        "version": 7,
        "rules_number": 0,
    }


def test_claims_are_sorted_by_source_and_key() -> None:
    """In whatever order they came."""
    tenant = folded(
        [
            operation("b", "light", NOW + 1),
            mode("light"),
            breaker("z@1", "open"),
            operation("a", "deep", NOW + 1),
        ]
    )
    shown = state_record("acme", 0, tenant.record, tenant.terms)["claims"]
    assert [(claim["source"], claim["key"]) for claim in shown] == [
        ("breaker", "z@1"),
        ("mode", "mode"),
        ("operation", "a"),
        ("operation", "b"),
    ]


def test_a_tenant_never_seen_is_awake_under_the_rules_in_force() -> None:
    """With the active set of their schedule, and no position."""
    set_ = {"K": 9, "t": 1, "tau": 1, "eta": 0, "lambda": 0, "B": 1}
    rules = [
        BUILT_IN_RULES,
        parse_rules(1, {"schedule": dict.fromkeys(("active", "light", "deep", "freeze"), set_)}),
    ]
    answer = present("nobody", 3, None, rules, NOW)
    SleepModeDocument.model_validate(answer)
    assert (answer["state"], answer["position"], answer["parameters"]["K"]) == ("active", None, 9)
    assert (answer["claims"], answer["cause"], answer["policy_version"]) == ([], None, 0)


def test_a_record_is_read_under_the_rules_that_it_was_last_folded_under() -> None:
    """Newer ones count when the fold has applied them."""
    tenant = folded([breaker("a@1", "open")])
    rules = [tenant.rules, parse_rules(1, {"policy": {"enforce": False}})]
    assert present("acme", 3, tenant.record, rules, NOW)["enforced"]


def test_the_first_record_of_a_partition_is_a_position() -> None:
    """Offset 0 is one like any other."""
    tenant = folded([])
    answer = present("acme", 3, replace(tenant.record, offset=0), [tenant.rules], NOW)
    assert answer["position"] == "3:0"


def test_a_dry_run_shows_what_was_decided_and_that_it_is_not_enforced() -> None:
    """`state` stays active."""
    tenant = folded([breaker("a@1", "open")], {"enforce": False})
    answer = present("acme", 3, tenant.record, [tenant.rules], NOW)
    assert (answer["state"], answer["decided"], answer["enforced"]) == ("active", "freeze", False)


def test_a_rules_record_is_what_its_model_says() -> None:
    """As the lanes publish it."""
    rules = parse_rules(2, {"policy": {"ceiling": "deep"}, "retire_after_seconds": 60})
    RulesRecord.model_validate({"number": 2, "rules": rules.document, "position": "0:5", "at": NOW})


CLAIM = breaker("a@1", "open", NOW + 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"clock": NOW + 5},
        {"rules_number": 3},
        {"claims": claims_of(replace(CLAIM, occurred_at=NOW))},
        {"claims": claims_of(CLAIM)},
    ],
)
def test_clock_occurred_at_and_the_number_of_the_rules_are_not_worth_publishing(
    changes: dict[str, Any],
) -> None:
    """A reader sees no difference."""
    record = folded([CLAIM]).record
    terms = terms_of()
    assert shows_the_same(record, replace(record, **changes), terms, terms)
    assert shows_the_same(record, replace(record, **changes), terms, terms_of())


@pytest.mark.parametrize(
    "changes",
    [
        {"since": NOW + 1},
        {"cause": None},
        {"held_until": NOW + 1},
        {"policy_version": 1},
        {"claims": {}},
        {"claims": claims_of(replace(CLAIM, expires_at=NOW + 11))},
        {"claims": claims_of(CLAIM, mode("light"))},
        {"ramp": folded([]).record.ramp},
    ],
)
def test_everything_else_is(changes: dict[str, Any]) -> None:
    """A reader sees each of these."""
    record = folded([CLAIM]).record
    terms = terms_of()
    assert not shows_the_same(record, replace(record, **changes), terms, terms)


def same_under(record: Record, rules: dict[str, Any]) -> bool:
    """Tell whether a record shows the same under these rules as under the built-in ones."""
    return shows_the_same(record, replace(record, rules_number=1), terms_of(), parse_rules(1, rules).terms_for(None))


def test_other_rules_are_worth_publishing_where_they_change_what_a_claim_means() -> None:
    """Its depth is shown, though the decision may stand."""
    record = folded([mode("freeze"), breaker("a@1", "open")]).record
    assert not same_under(record, {"policy": {"breakers": [{"match": "*", "open": "deep"}]}})


def test_other_rules_are_worth_publishing_where_they_change_the_forecast() -> None:
    """Another `wake` is another ramp to come."""
    record = folded([CLAIM]).record
    assert not same_under(record, {"policy": {"ramp_seconds": {"wake": 5}}})


def test_other_rules_that_show_nowhere_are_not_worth_publishing() -> None:
    """Such as another longest TTL."""
    assert same_under(folded([CLAIM]).record, {"policy": {"max_ttl_seconds": 5}})


def test_other_rules_do_not_hide_a_difference() -> None:
    """What changed besides is published."""
    record = folded([CLAIM]).record
    other = parse_rules(1, {"policy": {"max_ttl_seconds": 5}}).terms_for(None)
    assert not shows_the_same(record, replace(record, held_until=NOW + 1), terms_of(), other)


def test_a_new_record_is_awake_at_the_time_of_its_first_event() -> None:
    """No cause, no claims, parameters at rest in the active set, not yet at any position."""
    record = new_record(BUILT_IN_RULES, NOW)
    assert (record.since, record.cause, record.claims, record.version, record.offset) == (
        NOW,
        None,
        {},
        0,
        -1,
    )
    assert (record.policy, record.policy_version, record.held_until) == (None, 0, None)
    assert record.ramp.start == record.ramp.target == BUILT_IN_RULES.schedule[0]


def test_a_policy_of_the_tenant_is_shown_filled() -> None:
    """So that a reader needs no defaults."""
    tenant = folded([], {"floor": "light"})
    shown = state_record("acme", 0, tenant.record, tenant.terms)["policy"]
    assert shown == parse_policy({"floor": "light"}).document
