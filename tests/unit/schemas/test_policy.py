"""Policies: validation, filling and the compiled form."""

from typing import Any, get_args

import pytest
from hypothesis import given

from schemas.domain.policy import InvalidDocumentError, Policy, parse_policy, unpack_policy
from schemas.domain.schedule import BUILT_IN_SCHEDULE, schedule_as_json
from schemas.domain.state import LABELS, BreakerState
from tests.support.claims import QUICK, policies

BUILT_IN = {
    "floor": "active",
    "ceiling": "freeze",
    "enforce": True,
    "min_sleep_seconds": 0,
    "max_ttl_seconds": 3600,
    "ramp_seconds": {"deepen": 0, "wake": 30},
    "breakers": [{"match": "*", "open": "freeze", "half_open": "light", "quorum": 1, "lease_seconds": 900}],
    "schedule": None,
}


def findings(document: object) -> dict[str, str]:
    """Return the wrong fields of an invalid policy and the reasons."""
    with pytest.raises(InvalidDocumentError) as refused:
        parse_policy(document)
    return {error.field: error.reason for error in refused.value.errors}


def test_an_empty_policy_is_filled_with_the_built_in_values() -> None:
    """Every absent field takes the value of specification.md#policy."""
    assert parse_policy({}).document == BUILT_IN


def test_a_partial_ramp_and_a_partial_rule_are_filled() -> None:
    """What is given stays, what is absent is built in."""
    filled = parse_policy({"ramp_seconds": {"wake": 5}, "breakers": [{"match": "db-*", "open": "deep"}]}).document
    assert filled["ramp_seconds"] == {"deepen": 0, "wake": 5}
    assert filled["breakers"] == [
        {"match": "db-*", "open": "deep", "half_open": "light", "quorum": 1, "lease_seconds": 900}
    ]


def test_durations_become_milliseconds() -> None:
    """The compiled form counts in whole milliseconds."""
    policy = parse_policy(
        {
            "min_sleep_seconds": 1.5,
            "max_ttl_seconds": 0.001,
            "ramp_seconds": {"deepen": 0.25, "wake": 4.35},
            "breakers": [{"match": "*", "lease_seconds": 0.015}],
        }
    )
    assert (policy.min_sleep_ms, policy.max_ttl_ms, policy.deepen_ms, policy.wake_ms) == (1500, 1, 250, 4350)
    assert policy.rule_of("any").lease_ms == 15


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"flor": "active"}, "flor"),
        ({"floor": "asleep"}, "floor"),
        ({"floor": None}, "floor"),
        ({"ceiling": 3}, "ceiling"),
        ({"enforce": 1}, "enforce"),
        ({"enforce": None}, "enforce"),
        ({"min_sleep_seconds": -1}, "min_sleep_seconds"),
        ({"min_sleep_seconds": 0.0001}, "min_sleep_seconds"),
        ({"min_sleep_seconds": "1"}, "min_sleep_seconds"),
        ({"max_ttl_seconds": 0}, "max_ttl_seconds"),
        ({"max_ttl_seconds": 2_592_001}, "max_ttl_seconds"),
        ({"ramp_seconds": None}, "ramp_seconds"),
        ({"ramp_seconds": {"up": 1}}, "ramp_seconds.up"),
        ({"ramp_seconds": {"wake": True}}, "ramp_seconds.wake"),
        ({"breakers": {}}, "breakers"),
        ({"breakers": [{"match": "x"}] * 33}, "breakers"),
        ({"breakers": [{}]}, "breakers.0.match"),
        ({"breakers": [{"match": "a"}, {"match": ""}]}, "breakers.1.match"),
        ({"breakers": [{"match": "a", "quorum": 0}]}, "breakers.0.quorum"),
        ({"breakers": [{"match": "a", "quorum": 257}]}, "breakers.0.quorum"),
        ({"breakers": [{"match": "a", "lease_seconds": None}]}, "breakers.0.lease_seconds"),
        ({"breakers": [{"match": "a", "half_open": "open"}]}, "breakers.0.half_open"),
        ({"schedule": {}}, "schedule.active"),
        ({"schedule": []}, "schedule"),
    ],
)
def test_a_wrong_field_is_named(document: dict[str, Any], field: str) -> None:
    """With its path, and not with the value that was sent."""
    assert field in findings(document)


def test_a_pattern_that_does_not_match_is_told_in_words() -> None:
    """A regular expression tells a person little."""
    assert findings({"breakers": [{"match": "a\nb"}]}) == {"breakers.0.match": "must be free of control characters"}


def test_of_too_many_rules_none_is_looked_at() -> None:
    """A body holds 20,000 empty ones, and to find each of them wrong would stall a partition."""
    assert findings({"breakers": [{}] * 33}) == {"breakers": "at most 32 rules"}


def test_a_floor_above_the_ceiling_is_refused_with_both() -> None:
    """The reason names the two."""
    (reason,) = findings({"floor": "deep", "ceiling": "light"}).values()
    assert reason == "floor deep is above ceiling light"


def test_a_schedule_that_is_not_monotone_is_refused_with_the_parameter() -> None:
    """The field is the schedule, the reason names the parameter."""
    schedule = schedule_as_json(BUILT_IN_SCHEDULE)
    schedule["deep"] |= {"tau": 0.09}
    assert findings({"schedule": schedule}) == {"schedule": "tau is not monotone over active, light, deep, freeze"}


@pytest.mark.parametrize("document", [None, [], "deep", 1, True])
def test_what_is_no_object_is_no_policy(document: object) -> None:
    """The finding is about the whole document."""
    assert list(findings(document)) == ["(document)"]


def test_no_value_that_was_sent_comes_back_in_the_findings() -> None:
    """It may be long, and it may be a secret pasted in the wrong place."""
    secret = "hunter2"
    document = {"floor": secret, "min_sleep_seconds": secret, "breakers": [{"match": "a", "open": secret}]}
    with pytest.raises(InvalidDocumentError) as refused:
        parse_policy(document)
    assert secret not in str(refused.value)


@pytest.mark.parametrize("state", get_args(BreakerState))
@pytest.mark.parametrize("tripped", LABELS)
@pytest.mark.parametrize("probing", LABELS)
def test_a_rule_maps_every_breaker_state(state: BreakerState, tripped: str, probing: str) -> None:
    """`open` and `forced_open` by the one field, `half_open` by the other, the rest mean awake."""
    policy = parse_policy({"breakers": [{"match": "*", "open": tripped, "half_open": probing}]})
    expected = {"open": tripped, "forced_open": tripped, "half_open": probing}.get(state, "active")
    assert policy.rule_of("any").means[state].label == expected


def test_the_first_rule_that_matches_holds() -> None:
    """Later ones are not looked at."""
    policy = parse_policy({"breakers": [{"match": "db-*", "quorum": 2}, {"match": "db-1", "quorum": 3}]})
    assert policy.rule_of("db-1").quorum == 2


def test_a_name_that_no_rule_matches_falls_under_the_built_in_rule() -> None:
    """`*`, freeze, light, one instance, 15 minutes."""
    rule = parse_policy({"breakers": [{"match": "db-*", "open": "active"}]}).rule_of("cache")
    assert (rule.means["open"].label, rule.means["half_open"].label) == ("freeze", "light")
    assert (rule.quorum, rule.lease_ms) == (1, 900_000)


def test_a_name_is_looked_up_once() -> None:
    """The second look-up gives the same object without asking the patterns again."""
    policy = parse_policy({"breakers": [{"match": "db-*"}]})
    first = policy.rule_of("db-1")
    policy._first_match = lambda _: None  # noqa: SLF001 - a second look would now find the built-in rule
    assert policy.rule_of("db-1") is first


def test_a_policy_remembers_a_bounded_number_of_names() -> None:
    """An emitter that makes up names costs time, not memory."""
    policy = parse_policy({"breakers": [{"match": "db-*", "quorum": 2}]})
    for number in range(10_000):
        assert policy.rule_of(f"db-{number}").quorum == 2
    assert len(policy._rule_of) <= 4096  # noqa: SLF001 - the bound is not visible from outside


def test_policies_that_mean_the_same_are_equal() -> None:
    """Filled, numbers by value, durations in milliseconds."""
    same = [{}, BUILT_IN, {"max_ttl_seconds": 3600.0}, {"breakers": [{"match": "*", "quorum": 1.0}]}]
    assert len({parse_policy(document) for document in same}) == 1


def test_policies_that_differ_are_not_equal() -> None:
    """Nor is a policy equal to anything else."""
    assert parse_policy({}) != parse_policy({"max_ttl_seconds": 3599.999})
    assert parse_policy({}) != BUILT_IN


def test_the_same_packed_text_gives_the_same_policy_object() -> None:
    """So that tenants with equal policies share one."""
    packed = parse_policy({"floor": "light"}).packed
    assert unpack_policy(packed) is unpack_policy(packed)


@QUICK
@given(policies())
def test_a_policy_survives_its_packed_form(document: dict[str, Any]) -> None:
    """What Redis holds reads back as the same policy, and as the same text."""
    policy = parse_policy(document)
    again: Policy = unpack_policy(policy.packed)
    assert again == policy
    assert again.packed == policy.packed
    assert parse_policy(policy.document) == policy


def test_a_schedule_of_its_own_survives_the_packed_form() -> None:
    """With the very same numbers."""
    schedule = schedule_as_json(BUILT_IN_SCHEDULE)
    schedule["freeze"] |= {"tau": 1e-300}
    policy = parse_policy({"schedule": schedule})
    assert unpack_policy(policy.packed).schedule == policy.schedule
    assert policy.schedule is not None
    assert policy.schedule[3].tau == 1e-300


def test_the_findings_of_a_hostile_policy_stay_short() -> None:
    """A record of 64 KiB must not become a refusal of a megabyte."""
    with pytest.raises(InvalidDocumentError) as refused:
        parse_policy({f"{number:x}": 1 for number in range(8000)})
    assert len(str(refused.value)) <= 65_536
