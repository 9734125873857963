"""What decided a tenant's state, told in one line each; the documents are those that the API answers."""

from typing import Any

import pytest

from schemas.domain.claim import Cause, Claim
from schemas.domain.decision import decide
from schemas.domain.policy import BUILT_IN_RULES, parse_policy
from schemas.wire.tenant_view import present
from sleepctl.ui.why import why
from tests.support.claims import breaker, folded, mode, operation, pin, sleeping
from tests.support.times import NOW
from tests.unit.sleepctl.fakes import present as older

TWO_OF_A: dict[str, Any] = {"breakers": [{"match": "a", "quorum": 2}, {"match": "*"}]}


def told(*claims: Claim, policy: dict[str, Any] | None = None, rules: dict[str, Any] | None = None) -> list[str]:
    """Return the lines about a tenant that got these claims at once."""
    tenant = folded(claims, policy, rules)
    answer = present("acme", 0, tenant.record, [tenant.rules], NOW)
    return [f"{label}: {text}" for label, text in why(answer)]


@pytest.mark.parametrize(
    ("claims", "policy", "rules", "line"),
    [
        ([], None, None, "nothing: no claim asks for sleep"),
        ([breaker("a@1", "open"), mode("light")], None, None, "the breaker a@1; without it light"),
        ([breaker("a@1", "open"), breaker("b@1", "open")], None, None, "the breaker a@1; without it still freeze"),
        ([operation("op-1", "deep", NOW + 9)], None, None, "the operation op-1; without it active"),
        ([mode("deep")], None, None, "the mode; without it active"),
        ([pin("deep", NOW + 9), mode("light")], None, None, "the pin; without it light"),
        ([breaker(f"a@{n}", "open") for n in range(3)], TWO_OF_A, None,
         "the breaker a (3 instances, quorum 2); without it active"),
        ([], {"floor": "deep"}, None, "the policy's floor deep; no claim asks for sleep"),
        ([mode("light")], {"floor": "deep"}, None, "the policy's floor deep; the mode asks for light"),
        ([mode("deep")], {"ceiling": "light"}, None,
         "the ceiling of the tenant's policy, light; without it deep: the mode asks for deep"),
        ([mode("deep")], None, {"policy": {"ceiling": "light"}},
         "the ceiling of the rules, light; without it deep: the mode asks for deep"),
        ([mode("deep")], {"ceiling": "light"}, {"policy": {"ceiling": "light"}},
         "the same ceiling of policy and rules, light; without it deep: the mode asks for deep"),
        ([], {"floor": "deep"}, {"policy": {"ceiling": "light"}},
         "the ceiling of the rules, light; without it deep: the floor asks for deep, no claim asks for sleep"),
    ],
)  # fmt: skip
def test_what_decided_is_told_in_one_line(
    claims: list[Claim], policy: dict[str, Any] | None, rules: dict[str, Any] | None, line: str
) -> None:
    """With what would be decided without it."""
    assert told(*claims, policy=policy, rules=rules) == [f"decided by: {line}"]


def test_a_hold_is_told_with_its_end() -> None:
    """And what comes then."""
    policy = {"min_sleep_seconds": 10}
    record = sleeping("freeze", [mode("light")], policy)
    held, _ = decide(record, BUILT_IN_RULES.terms_for(parse_policy(policy)), NOW + 1, Cause("mode", "mode"))
    answer = present("acme", 0, held, [BUILT_IN_RULES], NOW + 2)
    line = "the minimum sleep, which holds freeze until 2026-11-22T08:07:27.992Z; then light"
    assert list(why(answer)) == [("decided by", line)]


def test_a_quorum_that_is_not_met_is_told_as_1_of_2() -> None:
    """Beside what decided."""
    assert told(breaker("a@1", "open"), policy=TWO_OF_A) == [
        "decided by: nothing: no breaker has its quorum",
        "quorum not met: a: 1 of 2 instances ask for freeze",
    ]


def test_a_breaker_that_no_rule_matches_is_told() -> None:
    """As the API says it."""
    note = told(breaker("search@1", "open"), policy={"breakers": []})[1]
    assert note.startswith("note: no rule matches `search`: the built-in rule applies; end with `{")


def test_an_older_api_tells_nothing_of_it() -> None:
    """A newer command line shows the rest."""
    document = older()
    del document["decided_by"], document["notes"]
    assert list(why(document)) == []
