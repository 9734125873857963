"""The embedded policy's memory: it is keyed by what the policy can tell apart, and no answer depends on it."""

import json
import math
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from api.adapters.dependency import Dependency
from api.security.embedded_policy import EmbeddedPolicy, policy_folder
from api.security.opa import Question
from schemas.budgets import Action
from tests.support.policy_cases import BASE, BOUNDED, CASES, Case

READ_BY_RULES: Final = {
    "subject": {"is_string(input.subject)"},
    "tenant": {"is_string(input.tenant)", "input.tenant == input.token_tenant", "is_name(input.tenant)"},
    "token_tenant": {"input.tenant == input.token_tenant", "is_name(input.token_tenant)"},
    "scopes": {"some scope in input.scopes", "scope in input.scopes", "are_strings(input.scopes)"},
    "ttl_seconds": {
        *("is_null(input.ttl_seconds)", "is_number(input.ttl_seconds)", "is_bound(input.ttl_seconds)"),
        "input.ttl_seconds <= role.max_ttl_seconds",
    },
}
"""Every expression of the shipped rules that reads one of the fields that `visible` reduces."""


class Asked:
    """A policy over the shipped rules, and how often its engine ran."""

    def __init__(self, folder: Path, roles: object = None, more: str = "") -> None:
        shutil.copytree(policy_folder(), folder, dirs_exist_ok=True)
        if roles is not None:
            (folder / "data.json").write_text(json.dumps({"sleep_roles": roles}))
        rules = folder / "sleep.rego"
        rules.write_text(rules.read_text().replace("visible := ", more or "visible := "))
        self.policy = EmbeddedPolicy(folder, Dependency("opa"))
        self.evaluations = 0
        self._evaluate = self.policy.evaluate
        self.policy.evaluate = self._counted  # type: ignore[method-assign]  # counts what the memory does not answer

    def _counted(self, document: Any) -> object:  # noqa: ANN401 - as `evaluate` takes it
        self.evaluations += 1
        return self._evaluate(document)

    async def decide(self, question: Question) -> tuple[bool, list[str]]:
        """Return the decision without its id."""
        allow, reasons, _ = await self.policy.decide(question)
        return allow, list(reasons)


def _question(**changes: Any) -> Question:  # noqa: ANN401 - any field
    asked = BASE | {"scopes": ("on-call",), "target_state": "light"} | changes
    return Question(**asked)


def _questions() -> Iterator[tuple[Case, Question]]:
    """Yield the cases whose input has the fields and types of a question."""
    adapter = TypeAdapter(Question, config=ConfigDict(strict=True, hide_input_in_errors=True))
    for case in CASES:
        asked = case.input
        if asked.keys() == BASE.keys() and isinstance(asked["scopes"], list):
            with suppress(ValidationError):
                yield case, adapter.validate_python(asked | {"scopes": tuple(asked["scopes"])})


async def test_the_table_of_cases_holds_whatever_was_asked_before(tmp_path: Path) -> None:
    """Each case that is a question, asked of one policy with a memory."""
    policies: dict[str, Asked] = {}
    wrong = []
    questions = list(_questions())
    assert len(questions) > 250
    for case, question in questions:
        roles = json.dumps(case.roles)
        if roles not in policies:
            policies[roles] = Asked(tmp_path, case.roles)
        decided = await policies[roles].decide(question)
        if decided != (not case.reasons, case.reasons):
            wrong.append((case.name, decided))
    assert wrong == []


@pytest.mark.parametrize("seed", range(3))
async def test_a_remembered_answer_is_the_policys_own(tmp_path: Path, seed: int) -> None:
    """Random questions near every bound of random roles, each asked of the memory and of the rules."""
    chance = random.Random(seed)
    roles = {
        f"role-{number}": {
            "actions": chance.sample(get_args(Action), 2),
            "tenants": chance.choice(("own", "any")),
            "deepest": chance.choice(("active", "light", "deep", "freeze")),
            "max_ttl_seconds": chance.choice((None, 0.5, 59.999, 60, 3600)),
        }
        for number in range(5)
    }
    asked = Asked(tmp_path, roles)
    for _ in range(150):
        question = Question(
            action=chance.choice((*get_args(Action), "unknown")),
            tenant=chance.choice((None, "", "acme", "globex")),
            token_tenant=chance.choice((None, "", "acme")),
            subject=chance.choice(("ops", "")),
            scopes=tuple(chance.choices((*roles, "x", "sleep:write"), k=2)),
            target_state=chance.choice((None, "active", "light", "deep", "freeze")),
            ttl_seconds=chance.choice((None, 0, 0.499, 0.5, 0.501, 59.999, 60, 60.001, 3600, 3600.001, 10**400)),
            override=chance.random() < 0.2,
        )
        allow, reasons = await asked.decide(question)
        assert {"allow": allow, "reasons": reasons} == asked.policy.evaluate(question.as_input()), question


async def test_what_the_policy_cannot_tell_apart_is_asked_once(tmp_path: Path) -> None:
    """Another subject, tenant, TTL within the same bounds, or scope without a role."""
    asked = Asked(tmp_path, BOUNDED)
    alike = [
        _question(),
        _question(subject="somebody else"),
        _question(tenant="globex", token_tenant="globex"),
        *(_question(ttl_seconds=ttl) for ttl in (0.501, 1, 599.999, 600)),
        _question(scopes=("a scope without a role", "on-call", "on-call")),
    ]
    assert {str(await asked.decide(question)) for question in alike} == {"(True, [])"}
    assert asked.evaluations == 1


@pytest.mark.parametrize(
    "changes",
    [
        *({"ttl_seconds": 600.001}, {"ttl_seconds": None}, {"ttl_seconds": math.nan}, {"ttl_seconds": math.inf}),
        *({"tenant": "globex"}, {"tenant": None}, {"token_tenant": None}, {"scopes": ("lead",)}, {"scopes": ()}),
        *({"target_state": "freeze"}, {"action": "read"}, {"override": True}),
    ],
    ids=str,
)
async def test_what_the_policy_can_tell_apart_is_asked_anew(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Each alone makes another question of one that was allowed."""
    asked = Asked(tmp_path, BOUNDED | {"lead": {**BOUNDED["lead"], "max_ttl_seconds": 60}})
    assert (await asked.decide(_question()))[0]
    assert not (await asked.decide(_question(**changes)))[0]
    assert asked.evaluations == 2


@pytest.mark.parametrize(
    ("roles", "visible"),
    [
        (BOUNDED, "seen := "),
        (BOUNDED, 'visible := {"scopes": role_scopes}\n\nunused := '),
        (BOUNDED | {"boss": {**BOUNDED["boss"], "max_ttl_seconds": 2**60}}, ""),
    ],
    ids=["no-rule", "half-a-rule", "a-bound-that-the-engine-cannot-take"],
)
async def test_a_policy_that_does_not_say_what_it_sees_is_asked_each_question(
    tmp_path: Path, roles: object, visible: str
) -> None:
    """Only the very same question is remembered."""
    asked = Asked(tmp_path, roles, visible)
    for question in (_question(), _question(), _question(ttl_seconds=599), _question(subject="somebody else")):
        assert (await asked.decide(question))[0]
    assert asked.evaluations == 3


@pytest.mark.parametrize("field", READ_BY_RULES)
def test_the_shipped_rules_read_no_more_of_a_field_than_they_say(field: str) -> None:
    """If this fails, change the rule `visible` and `simplest` with the rule that reads the field in a new way."""
    rules = re.sub(r"#.*", "", (policy_folder() / "sleep.rego").read_text())
    lines = [line.strip() for line in rules.splitlines() if re.search(rf"\binput\.{field}\b", line)]
    assert {line.rpartition(" if ")[2] for line in lines} == READ_BY_RULES[field]


def test_the_shipped_rules_read_the_input_field_by_field() -> None:
    """A rule that reads all of it could see anything."""
    rules = re.sub(r"#.*|\"[^\"]*\"", "", (policy_folder() / "sleep.rego").read_text())
    assert "input." in rules
    assert re.findall(r"\binput\b(?!\.[a-z])", rules) == []
