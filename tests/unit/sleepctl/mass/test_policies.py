"""`sleepctl policies`: to a file and back."""

import json
from pathlib import Path

import pytest

from schemas.domain.policy import parse_policy
from sleepctl.io.api_client import Answer
from tests.unit.sleepctl.mass.conftest import Call
from tests.unit.sleepctl.mass.fakes import Tenants, once, problem

LIGHT, DEEP = {"floor": "light"}, {"ceiling": "deep"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of policies."""
    return tmp_path / "policies.jsonl"


def _write(file: Path, *lines: object) -> None:
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _line(tenant: str, policy: dict[str, str], version: int | None = None) -> dict[str, object]:
    return {"tenant": tenant, "policy_version": version, "policy": policy}


def test_own_policies_are_exported_and_no_others(call: Call, tenants: Tenants, file: Path) -> None:
    """Sorted, filled, with their versions. A tenant that returned to the default has none."""
    tenants.policies = {"initech": (4, DEEP), "acme": (2, LIGHT), "globex": (7, None)}
    outcome = call("policies", "export", str(file), "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == {"file": str(file), "policies": 2}
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        {"tenant": "acme", "policy_version": 2, "policy": parse_policy(LIGHT).document},
        {"tenant": "initech", "policy_version": 4, "policy": parse_policy(DEEP).document},
    ]
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_was_exported_is_imported_without_a_change(call: Call, tenants: Tenants, file: Path) -> None:
    """As often as one likes: nothing gets a new version."""
    tenants.policies = {"acme": (2, LIGHT), "initech": (4, DEEP)}
    assert call("policies", "export", str(file)).code == 0
    for _ in range(2):
        outcome = call("policies", "import", str(file), "--yes", "--json")
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["codes"] == {"unchanged": 2}
    assert tenants.applied == {}


def test_changed_lines_replace_their_versions(call: Call, tenants: Tenants, file: Path) -> None:
    """A tenant that somebody else has changed is named, and keeps its policy. Again, nothing happens."""
    tenants.policies = {"acme": (2, LIGHT), "initech": (5, LIGHT)}
    _write(file, _line("acme", DEEP, 2), _line("initech", DEEP, 4), _line("globex", DEEP, 0))
    outcome = call("policies", "import", str(file), "--yes")
    assert outcome.code == 1
    assert "initech was refused: version_conflict: the file has version 4, and the tenant has version 5" in outcome.out
    assert tenants.policies == {"acme": (3, DEEP), "initech": (5, LIGHT), "globex": (1, DEEP)}
    assert call("policies", "import", str(file), "--yes", "--any-version").code == 0
    assert tenants.policies == {"acme": (3, DEEP), "initech": (6, DEEP), "globex": (1, DEEP)}


def test_an_import_is_continued_as_other_runs(call: Call, tenants: Tenants, file: Path) -> None:
    """What has an answer is not sent again."""
    _write(file, _line("acme", DEEP, 0), _line("globex", DEEP, 0))
    assert call("policies", "import", str(file), "--yes", "--run", "x", "--dry-run").code == 0
    assert tenants.policies == {}
    tenants.instead = [
        lambda method, _path, tenant: Answer(202, {}, {}) if (method, tenant) == ("PUT", "acme") else None
    ]
    assert call("policies", "import", str(file), "--yes", "--run", "x").code == 1
    tenants.instead = []
    tenants.calls.clear()
    assert call("policies", "import", str(file), "--yes", "--run", "x").code == 0
    assert {call[2] for call in tenants.calls} == {"acme"}
    assert tenants.policies == {"acme": (1, DEEP), "globex": (1, DEEP)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON: "),
        ("[]", "not an object of tenant, policy_version, policy"),
        ('{"tenant": "acme", "policy": {}, "floor": 1}', "not an object of tenant, policy_version, policy"),
        ('{"policy": {}, "policy_version": 1}', "None is no tenant id"),
        ('{"tenant": "a/b", "policy": {}, "policy_version": 1}', "'a/b' is no tenant id"),
        ('{"tenant": "acme", "policy": {}}', "policy_version must be the number"),
        ('{"tenant": "acme", "policy": {}, "policy_version": true}', "policy_version must be the number"),
        ('{"tenant": "acme", "policy": {}, "policy_version": -1}', "policy_version must be the number"),
        ('{"tenant": "acme", "policy_version": 1}', "policy must be an object"),
        ('{"tenant": "acme", "policy": {"floor": "asleep"}, "policy_version": 1}', "floor: "),
        ('{"tenant": "globex", "policy": {}, "policy_version": 1}', "tenant globex is on line 1 already"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_sent(
    call: Call, tenants: Tenants, file: Path, line: str, reason: str
) -> None:
    """With the field of a wrong policy."""
    file.write_text(f"{json.dumps(_line('globex', LIGHT, 0))}\n\n{line}\n")
    outcome = call("policies", "import", str(file), "--yes")
    assert (outcome.code, tenants.calls) == (2, [])
    assert f"line 3: {reason}" in outcome.err


def test_unknown_tenants_need_a_word(call: Call, tenants: Tenants, file: Path) -> None:
    """As when policies move to another installation, where versions begin anew."""
    _write(file, _line("acme", LIGHT), _line("new", LIGHT))
    assert "line 2: tenant new is unknown" in call("policies", "import", str(file), "--yes", "--any-version").err
    assert call("policies", "import", str(file), "--yes", "--any-version", "--unknown").code == 0
    assert tenants.policies == {"acme": (1, LIGHT), "new": (1, LIGHT)}


def test_an_empty_file_is_a_mistake(call: Call, file: Path) -> None:
    """So is one that is not there."""
    file.write_text("\n")
    assert "has no policy" in call("policies", "import", str(file), "--yes").err
    file.unlink()
    outcome = call("policies", "import", str(file), "--yes")
    assert (outcome.code, "No such file" in outcome.err) == (1, True)


def test_a_file_is_not_replaced_unless_asked_for(call: Call, tenants: Tenants, file: Path) -> None:
    """An older export may be the only copy."""
    tenants.policies = {"acme": (1, LIGHT)}
    file.write_text("older")
    outcome = call("policies", "export", str(file))
    assert (outcome.code, file.read_text()) == (2, "older")
    assert "is there already; give --replace" in outcome.err
    outcome = call("policies", "export", str(file), "--replace")
    assert (outcome.code, outcome.err.splitlines()[-1]) == (0, f"1 policies are in {file}")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (problem(403, "forbidden", "no role allows this"), "no role allows this"),
        (problem(503, "redis_unavailable", "Redis does not answer"), "is not written"),
    ],
)
def test_an_export_that_fails_leaves_no_file(
    call: Call, tenants: Tenants, file: Path, answer: Answer, message: str
) -> None:
    """Half an export would delete nothing when imported, and look complete."""
    tenants.policies = {"acme": (1, LIGHT)}
    tenants.instead = [once(answer, times=100, path="sleep_policy")]
    outcome = call("policies", "export", str(file))
    assert outcome.code == 1
    assert message in outcome.err
    assert list(file.parent.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(call: Call, tenants: Tenants, file: Path) -> None:
    """A folder that is not there."""
    tenants.policies = {"acme": (1, LIGHT)}
    outcome = call("policies", "export", str(file / "x"))
    assert outcome.code == 1
    assert "No such file or directory" in outcome.err
