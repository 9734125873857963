"""The pages on authorisation say what the policy's data say."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from api.adapters.dependency import Dependency
from api.security.embedded_policy import EmbeddedPolicy, policy_folder
from schemas.budgets import Action
from tests.support.policy_cases import ACTIONS, BASE

DOCS = Path(__file__).parents[3] / "docs"
SCOPES = (DOCS / "reference" / "scopes.md").read_text(encoding="utf-8")
HOW_TO = (DOCS / "how-to" / "authorisation.md").read_text(encoding="utf-8")


def _roles() -> dict[str, dict[str, Any]]:
    roles: dict[str, dict[str, Any]] = json.loads((policy_folder() / "data.json").read_bytes())["sleep_roles"]
    return roles


def _rows(text: str, heading: str) -> list[str]:
    """Return the rows of the first table under a heading."""
    section = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_the_page_of_scopes_shows_each_role_of_the_data() -> None:
    """In their order, with their bounds."""

    def row(scope: str, role: dict[str, Any]) -> str:
        actions = ", ".join(f"`{action}`" for action in role["actions"])
        bound = role["max_ttl_seconds"]
        longest = "no bound" if bound is None else f"{bound} s"
        return f"| `{scope}` | {actions} | {role['tenants']} | `{role['deepest']}` | {longest} |"

    assert _rows(SCOPES, "Roles") == [row(scope, role) for scope, role in _roles().items()]


def test_data_page_settings_and_cases_know_the_same_actions() -> None:
    """One that is missing somewhere could be granted, limited or tested by nobody."""
    granted = {action for role in _roles().values() for action in role["actions"]}
    shown = {row.split("`")[1] for row in _rows(SCOPES, "Actions")}
    assert granted == shown == set(get_args(Action)) == set(ACTIONS)


def test_the_how_to_shows_every_role() -> None:
    """A file made from it takes nothing from anybody but what its text says."""
    shown = json.loads(HOW_TO.partition("```json\n")[2].partition("```")[0])["sleep_roles"]
    shipped = _roles()
    assert list(shown) == [*shipped, "on-call"]
    assert {scope for scope, role in shipped.items() if shown[scope] != role} == {"sleep:write"}


@pytest.mark.parametrize(
    ("asked", "reasons"),
    [
        ({}, []),
        ({"ttl_seconds": 3601}, ["sleep:write needs ttl_seconds of at most 3600"]),
        ({"scopes": ["on-call"], "tenant": "globex", "target_state": "light"}, []),
        ({"scopes": ["on-call"], "target_state": "freeze"}, ["on-call allows no state deeper than light"]),
    ],
)
def test_the_roles_that_the_how_to_shows_do_what_it_says(
    tmp_path: Path, asked: dict[str, Any], reasons: list[str]
) -> None:
    """An hour of `deep` for writers, ten minutes of `light` for those on call."""
    (tmp_path / "data.json").write_text(HOW_TO.partition("```json\n")[2].partition("```")[0])
    (tmp_path / "sleep.rego").write_text((policy_folder() / "sleep.rego").read_text(encoding="utf-8"))
    decision = EmbeddedPolicy(tmp_path, Dependency("opa")).evaluate(BASE | asked)
    assert decision == {"allow": not reasons, "reasons": reasons}
