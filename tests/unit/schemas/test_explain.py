"""Why a tenant is decided as it is: the explanation against the decision itself, with the part named left out."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic_core import from_json

from schemas.domain.claim import PIN, Cause, Claim
from schemas.domain.decision import decide, deepest, wanted
from schemas.domain.explanation import IGNORE_THE_REST, Explanation, Quorum, explain, notes_on
from schemas.domain.glob import match_every_name
from schemas.domain.policy import BUILT_IN_RULES, Terms, breaker_name, parse_policy, parse_rules
from schemas.domain.record import Record
from schemas.domain.state import SleepState
from schemas.wire.tenant_view import present, preview
from tests.support.claims import QUICK, Tenant, breaker, folded, mode, operation, pin, sleeping, tenants
from tests.support.times import NOW

active, light, deep, freeze = SleepState
EVENT = Cause("breaker", "a@1")


def explained(*claims: Claim, policy: dict[str, Any] | None = None, rules: dict[str, Any] | None = None) -> Explanation:
    """Return why a tenant that got these claims at once is decided as it is."""
    tenant = folded(claims, policy, rules)
    return explain(tenant.record, tenant.rules)


def document(tenant: Tenant) -> dict[str, Any]:
    """Return the policy in force, as a document."""
    return (tenant.record.policy or tenant.rules.policy).document


def terms_with(tenant: Tenant, policy: dict[str, Any] | None = None, rules: dict[str, Any] | None = None) -> Terms:
    """Return the tenant's terms with some fields of its own policy, or of the rules' policy, changed."""
    own = tenant.record.policy
    changed = parse_rules(0, {"policy": tenant.rules.policy.document | (rules or {})})
    return changed.terms_for(None if own is None else parse_policy(own.document | (policy or {})))


def without_what_decides(tenant: Tenant, result: Explanation) -> tuple[Record, Terms]:
    """Return the tenant's record and terms without the step that is named."""
    record, terms = tenant.record, tenant.terms
    if result.by in ("claim", "pin"):
        assert result.claim is not None
        left_out = {(result.claim.source, result.claim.key)}
        if result.claim.quorum is not None:
            name = result.claim.quorum.breaker
            left_out = {key for key in record.claims if key[0] == "breaker" and breaker_name(key[1]) == name}
        return replace(
            record, claims={key: claim for key, claim in record.claims.items() if key not in left_out}
        ), terms
    if result.by == "floor":
        return record, terms_with(tenant, {"floor": "active"})
    if result.by == "ceiling":
        open_ = {"ceiling": "freeze"}
        return record, terms_with(
            tenant,
            None if result.ceiling_of == "rules" else open_,
            None if result.ceiling_of == "policy" else open_,
        )
    assert result.by == "hold"
    return record, terms_with(tenant, {"min_sleep_seconds": 0}, {"min_sleep_seconds": 0})


@QUICK
@given(tenants())
def test_what_is_named_is_what_makes_the_difference(tenant: Tenant) -> None:
    """Without it the decision is another one, or another claim that asks for the same is named in its place."""
    result = explain(tenant.record, tenant.rules)
    decided = tenant.record.decided
    if result.by == "nothing":
        assert (decided, result.without, result.claim) == (active, None, None)
        return
    record, terms = without_what_decides(tenant, result)
    assert wanted(record.claims, terms) is result.without
    if result.by not in ("claim", "pin"):
        assert result.without is not decided
    elif result.by == "claim" and result.without is decided:
        # An end of the claim would not be held, so the record without it is settled as it stands.
        runner_up = explain(replace(record, held_until=None), tenant.rules)
        assert (runner_up.by, runner_up.claim) != (result.by, result.claim)


@QUICK
@given(tenants())
def test_the_steps_lead_to_the_decision(tenant: Tenant) -> None:
    """Each part is there exactly where it makes a difference."""
    record, terms = tenant.record, tenant.terms
    result = explain(record, tenant.rules)
    assert result.asked is deepest(record.claims, terms)
    assert (result.by == "hold") == (result.held_until is not None) == (record.decided > wanted(record.claims, terms))
    if result.by == "pin":
        assert (record.decided, result.floor, result.ceiling) == (record.claims[PIN].state, None, None)
        return
    assert result.floor == (terms.policy.floor if terms.policy.floor > result.asked else None)
    raised = result.asked if result.floor is None else result.floor
    assert (result.ceiling is not None) == (raised > terms.ceiling)
    assert wanted(record.claims, terms) is (raised if result.ceiling is None else result.ceiling)
    assert (result.claim is None) == (result.asked is active)


@QUICK
@given(tenants())
def test_every_quorum_that_is_not_met_is_named_with_how_many_it_lacks(tenant: Tenant) -> None:
    """With the quorum lowered to what there is the claims ask for more; no other quorum makes a difference."""
    claims, policy = tenant.record.claims, document(tenant)
    actual = {quorum.breaker: quorum for quorum in explain(tenant.record, tenant.rules).unmet}
    asked = deepest(claims, tenant.terms)

    def asked_with(name: str, quorum: int) -> SleepState:
        means = (tenant.record.policy or tenant.rules.policy).rule_of(name).means
        rule = {"match": name, "open": means["open"].label, "half_open": means["half_open"].label, "quorum": quorum}
        changed = parse_policy(policy | {"breakers": [rule, *policy["breakers"]][:32]})
        return deepest(claims, BUILT_IN_RULES.terms_for(changed))

    for name in "ab":
        assert (name in actual) == (asked_with(name, 1) > asked)
    for name, quorum in actual.items():
        assert quorum.have < quorum.need
        assert asked_with(name, quorum.have) >= quorum.state > asked
        assert asked_with(name, quorum.have + 1) < quorum.state


@QUICK
@given(tenants())
def test_every_breaker_that_no_rule_matches_is_named(tenant: Tenant) -> None:
    """The rule that the note gives makes them mean active, and changes nothing for the others."""
    policy = document(tenant)
    result = explain(tenant.record, tenant.rules).unmatched
    ended = parse_policy(policy | {"breakers": [*policy["breakers"], from_json(IGNORE_THE_REST)]})
    for name in {breaker_name(key) for source, key in tenant.record.claims if source == "breaker"}:
        now, then = parse_policy(policy).rule_of(name), ended.rule_of(name)
        assert now.means == then.means or name in result
        assert name not in result or set(then.means.values()) == {active}
    assert list(result) == sorted(result)
    assert ended.matches_every_breaker
    assert notes_on(ended) == []


def test_a_claim_that_counts_alone_is_named() -> None:
    """Of several that ask for the same, the first by source and key; the others decide without it."""
    result = explained(breaker("b@1", "open"), breaker("a@2", "open"), mode("light"))
    assert (result.by, result.without) == ("claim", freeze)
    assert result.claim is not None
    assert result.claim == ("breaker", "a@2", None)
    assert explained(breaker("b@1", "open"), mode("light")).without is light
    assert explained(operation("op", "deep", NOW + 9)).claim == ("operation", "op", None)


def test_a_quorum_that_is_met_is_named_with_its_numbers() -> None:
    """Without the breaker, all of its instances, the rest decides."""
    policy = {"breakers": [{"match": "a", "quorum": 2}]}
    result = explained(*(breaker(f"a@{n}", "open") for n in range(3)), mode("light"), policy=policy)
    assert result.claim == ("breaker", "a@0", Quorum("a", freeze, 2, 3))
    assert (result.by, result.without, result.unmet) == ("claim", light, ())


def test_a_quorum_that_is_not_met_is_named_as_2_of_3() -> None:
    """Nothing decides, and it is told why not."""
    policy = {"breakers": [{"match": "a", "quorum": 3}]}
    result = explained(breaker("a@1", "open"), breaker("a@2", "half_open"), breaker("a@3", "closed"), policy=policy)
    assert (result.by, result.unmet) == ("nothing", (Quorum("a", light, 3, 2),))


def test_a_floor_is_named_with_what_the_claims_ask_for() -> None:
    """It is the tenant's own: the rules have none."""
    result = explained(mode("light"), policy={"floor": "deep"})
    assert (result.by, result.floor, result.asked, result.without) == ("floor", deep, light, light)


@pytest.mark.parametrize(
    ("own", "of_rules", "owner", "without"),
    [
        ("light", "freeze", "policy", freeze),
        ("light", "deep", "policy", deep),
        ("deep", "light", "rules", deep),
        ("light", "light", "both", freeze),
        (None, "light", "rules", freeze),
    ],
)
def test_a_ceiling_is_named_with_whose_it_is(
    own: Any,  # noqa: ANN401 - a state's name
    of_rules: Any,  # noqa: ANN401
    owner: str,
    without: SleepState,
) -> None:
    """Without that one the other still cuts; a tenant without a policy has the rules' one."""
    policy = None if own is None else {"ceiling": own}
    result = explained(breaker("a@1", "open"), policy=policy, rules={"policy": {"ceiling": of_rules}})
    assert (result.by, result.ceiling, result.ceiling_of, result.without) == ("ceiling", light, owner, without)
    assert result.claim == ("breaker", "a@1", None)


def test_a_ceiling_of_the_rules_is_named_where_it_cuts_a_floor() -> None:
    """Both are shown."""
    result = explained(policy={"floor": "deep"}, rules={"policy": {"ceiling": "light"}})
    assert (result.by, result.floor, result.ceiling, result.ceiling_of, result.claim) == (
        "ceiling", deep, light, "rules", None,
    )  # fmt: skip


def test_a_hold_is_named_with_its_end_and_what_it_holds_back() -> None:
    """The claim is the one that would decide without it."""
    policy = {"min_sleep_seconds": 10}
    record = sleeping("freeze", [mode("light")], policy)
    held, _ = decide(record, BUILT_IN_RULES.terms_for(record.policy), NOW + 1, EVENT)
    result = explain(held, BUILT_IN_RULES)
    assert (result.by, result.held_until, result.without) == ("hold", NOW + 10_000, light)
    assert result.claim == ("mode", "mode", None)


def test_a_pin_is_named_with_what_would_be_decided_without_it() -> None:
    """Whatever floor and ceiling say."""
    result = explained(pin("active", NOW + 9), breaker("a@1", "open"), policy={"floor": "light", "ceiling": "deep"})
    assert (result.by, result.claim, result.without, result.asked) == ("pin", ("pin", "pin", None), deep, freeze)
    assert (result.floor, result.ceiling) == (None, None)


@pytest.mark.parametrize("later", [-1, 0, 1])
def test_what_is_explained_is_the_moment_asked_for_and_not_the_record(later: int) -> None:
    """At the very end of a claim it decides no longer, though the record still has it."""
    tenant = folded([operation("op", "deep", NOW + 10), mode("light")])
    answer = present("acme", 0, tenant.record, [tenant.rules], NOW + 10 + later)
    source, without = ("operation", "light") if later < 0 else ("mode", "active")
    assert answer["decided"] == ("deep" if later < 0 else "light")
    assert (answer["decided_by"]["claim"]["source"], answer["decided_by"]["without"]) == (source, without)


@pytest.mark.parametrize("later", [-1, 0])
def test_a_hold_is_explained_until_its_very_end(later: int) -> None:
    """And then what it held back decides."""
    record = sleeping("freeze", [operation("op", "freeze", NOW + 5)], {"min_sleep_seconds": 10})
    answer = present("acme", 0, record, [BUILT_IN_RULES], NOW + 10_000 + later)
    kind, until = ("hold", NOW + 10_000) if later < 0 else ("nothing", None)
    assert (answer["decided_by"]["kind"], answer["decided_by"]["held_until"]) == (kind, until)


@QUICK
@given(tenants(), st.integers(0, 60))
def test_an_explanation_of_later_is_that_of_the_record_settled_then(tenant: Tenant, later: int) -> None:
    """The explained decision is the one that is shown beside it."""
    answer = present("acme", 0, tenant.record, [tenant.rules], NOW + later)
    decided, depths = answer["decided_by"], ["active", "light", "deep", "freeze"]
    if decided["kind"] == "hold":
        assert depths.index(decided["without"]) < depths.index(answer["decided"])
        return
    asked = depths.index(decided["asked"] if decided["floor"] is None else decided["floor"])
    cut = asked if decided["ceiling"] is None else depths.index(decided["ceiling"]["state"])
    if decided["kind"] != "pin":
        assert answer["decided"] == depths[cut]


def test_a_tenant_never_seen_is_said_to_be_that() -> None:
    """And one with a record is not; in a preview it would be seen."""
    assert present("nobody", 0, None, [BUILT_IN_RULES], NOW)["seen"] is False
    assert present("acme", 0, folded([]).record, [BUILT_IN_RULES], NOW)["seen"] is True
    assert preview("nobody", 0, None, [BUILT_IN_RULES], parse_policy({}), NOW)["seen"] is True


@pytest.mark.parametrize("breakers", [[], [{"match": "payments", "open": "light"}]])
def test_a_preview_says_that_unmatched_breakers_freeze_by_the_built_in_rule(breakers: list[Any]) -> None:
    """With the rule that would end it."""
    tenant = folded([breaker("search@1", "open")])
    answer = preview("acme", 0, tenant.record, [tenant.rules], parse_policy({"breakers": breakers}), NOW)
    assert (answer["state"], answer["decided_by"]["unmatched_breakers"]) == ("freeze", ["search"])
    assert answer["notes"] == [
        (
            "no rule matches `search`: the built-in rule applies; "
            'end with `{"match": "*", "open": "active", "half_open": "active"}` to ignore the rest'
        )
    ]
    ended = parse_policy({"breakers": [*breakers, from_json(IGNORE_THE_REST)]})
    answer = preview("acme", 0, tenant.record, [tenant.rules], ended, NOW)
    assert (answer["state"], answer["notes"]) == ("active", [])


def test_a_note_names_three_breakers_and_counts_the_rest() -> None:
    """A tenant may have 256; the list beside the note has all of them."""
    tenant = folded([breaker(f"b{n:03}@1", "open") for n in range(256)], {"breakers": []})
    answer = present("acme", 0, tenant.record, [tenant.rules], NOW)
    assert len(answer["decided_by"]["unmatched_breakers"]) == 256
    (note,) = answer["notes"]
    assert note.startswith("no rule matches `b000`, `b001`, `b002` and 253 more: the built-in rule applies; ")


def test_a_policy_with_unmatched_breakers_is_noted_without_a_tenant_too() -> None:
    """Mostly there is nothing to note."""
    assert notes_on(BUILT_IN_RULES.policy) == []
    (note,) = notes_on(parse_policy({"breakers": []}))
    assert note.startswith("the built-in rule applies to each breaker that no rule matches; end with `{")


@pytest.mark.parametrize(
    ("patterns", "every"),
    [
        (["*"], True),
        (["***"], True),
        (["?*"], True),
        (["a", "*"], True),
        (["?", "??*"], True),
        ([], False),
        (["a*"], False),
        (["??*"], False),
        (["?" * n for n in range(1, 33)], False),
        (["*@*"], False),
    ],
)
def test_patterns_that_match_every_name_are_told_from_others(patterns: list[str], every: bool) -> None:  # noqa: FBT001
    """By any mixture of `*` and `?`, and never by letters."""
    assert match_every_name(patterns, 200) is every


@QUICK
@given(st.lists(st.text("a?*", min_size=1, max_size=4), max_size=5), st.text("ab", min_size=1, max_size=6))
@example(["?", "??*"], "a")
def test_a_policy_that_matches_every_breaker_has_a_rule_for_any_name(patterns: list[str], name: str) -> None:
    """And another one lacks a rule for some name that no pattern spells."""
    policy = parse_policy({"breakers": [{"match": pattern} for pattern in patterns]})
    if policy.matches_every_breaker:
        assert policy.has_rule_for(name)
    else:
        assert not all(policy.has_rule_for("b" * length) for length in range(1, 201))
