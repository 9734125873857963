"""The rules, which hold for every tenant."""

import pytest

from schemas.domain.policy import BUILT_IN_RULES, InvalidDocumentError, parse_policy, parse_rules
from schemas.domain.schedule import BUILT_IN_SCHEDULE, schedule_as_json
from schemas.domain.state import SleepState

OTHER = schedule_as_json(BUILT_IN_SCHEDULE)
OTHER["freeze"] = OTHER["freeze"] | {"K": 2}


def test_the_built_in_rules_are_number_0_and_those_of_an_empty_document() -> None:
    """Absent fields are built in."""
    assert BUILT_IN_RULES.number == 0
    assert parse_rules(4, {}).document == BUILT_IN_RULES.document
    assert BUILT_IN_RULES.document["retire_after_seconds"] == 86_400
    assert BUILT_IN_RULES.retire_after_ms == 86_400_000


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"policy": {"floor": "light"}}, "floor"),
        ({"policy": None}, "policy"),
        ({"policy": {"flor": "active"}}, "policy.flor"),
        ({"policy": {"floor": "deep", "ceiling": "light"}}, "floor deep is above ceiling light"),
        ({"retire_after_seconds": 59.999}, "retire_after_seconds"),
        ({"retire_after_seconds": 2_592_000.001}, "retire_after_seconds"),
        ({"retire_after_seconds": None}, "retire_after_seconds"),
        ({"retire_after_seconds": 60.0001}, "more than 3 decimals"),
        ({"schedule": {"active": {}}}, "schedule.active.K"),
        ({"colour": 1}, "colour"),
        ([], "(document)"),
    ],
)
def test_wrong_rules_are_refused_with_the_field(document: object, message: str) -> None:
    """Invalid rules change nothing, and the error says what is wrong."""
    with pytest.raises(InvalidDocumentError) as refused:
        parse_rules(1, document)
    assert message in str(refused.value)


def test_a_tenant_without_a_policy_gets_that_of_the_rules() -> None:
    """With its ceiling, its spans and the rules' schedule."""
    rules = parse_rules(1, {"policy": {"ceiling": "deep", "min_sleep_seconds": 3}, "schedule": OTHER})
    terms = rules.terms_for(None)
    assert (terms.ceiling, terms.policy.min_sleep_ms, terms.schedule[3].K) == (SleepState.deep, 3000, 2)


def test_a_schedule_in_the_rules_policy_comes_before_that_of_the_rules() -> None:
    """The nearer one holds."""
    rules = parse_rules(1, {"policy": {"schedule": OTHER}})
    assert rules.terms_for(None).schedule[3].K == 2
    assert rules.terms_for(parse_policy({})).schedule == BUILT_IN_SCHEDULE


def test_a_tenant_s_own_policy_holds_in_place_of_that_of_the_rules() -> None:
    """All but the ceiling and the schedule that it leaves open."""
    rules = parse_rules(1, {"policy": {"enforce": False}, "schedule": OTHER, "retire_after_seconds": 60})
    terms = rules.terms_for(parse_policy({"floor": "light"}))
    assert terms.policy.enforce
    assert terms.policy.floor is SleepState.light
    assert (terms.schedule[3].K, terms.retire_after_ms) == (2, 60_000)


@pytest.mark.parametrize(
    ("own", "of_the_rules", "expected"),
    [("freeze", "light", "light"), ("light", "freeze", "light"), ("deep", "active", "active")],
)
def test_the_ceiling_of_the_rules_caps_every_tenant(own: str, of_the_rules: str, expected: str) -> None:
    """The lower of the two ceilings holds."""
    rules = parse_rules(1, {"policy": {"ceiling": of_the_rules}})
    assert rules.terms_for(parse_policy({"ceiling": own})).ceiling.label == expected


def test_the_digest_is_the_same_wherever_the_rules_are_the_same() -> None:
    """It depends on neither their number nor on how they were written."""
    assert parse_rules(7, {"retire_after_seconds": 86_400.0, "policy": {}}).digest == BUILT_IN_RULES.digest
    assert parse_rules(7, {"retire_after_seconds": 86_401}).digest != BUILT_IN_RULES.digest
    assert len(BUILT_IN_RULES.digest) == 16


def test_rules_survive_their_document() -> None:
    """What is published on the states topic reads back as the same rules."""
    rules = parse_rules(3, {"policy": {"ceiling": "light"}, "schedule": OTHER, "retire_after_seconds": 61.5})
    again = parse_rules(3, rules.document)
    assert (again.document, again.digest, again.terms) == (rules.document, rules.digest, rules.terms)
