"""`sleepctl run`: the whole system in one process, on a machine that has nothing else."""

import json
from pathlib import Path

import httpx
import pytest

from tests.support.command import Running, call

pytestmark = [pytest.mark.bare, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, list[Path]]:
    """One scenario: its exit status, what it told, and the files that it left in its working folder."""
    folder = tmp_path_factory.mktemp("run")
    with Running("run", "--once", folder=folder) as running:
        code = running.end(90)
    return code, running.told, list(folder.iterdir())


def test_once_ends_well_when_every_expected_state_was_seen(once: tuple[int, str, list[Path]]) -> None:
    """The exit status is what a script looks at."""
    code, output, _ = once
    assert code == 0, output
    assert "not seen" not in output
    assert output.endswith("every expected state was seen")


def test_each_transition_is_told_as_it_happens(once: tuple[int, str, list[Path]]) -> None:
    """Both tenants, in order, with the cause."""
    _, output, _ = once
    moves = [line.split("Z  ", 1)[1].split()[:5] for line in output.splitlines() if "→" in line and "Z  " in line]
    assert [(tenant, before, after, cause) for tenant, before, _, after, cause in moves] == [
        ("acme", "active", "freeze", "breaker"),
        ("acme", "freeze", "light", "breaker"),
        ("acme", "light", "active", "breaker"),
        ("globex", "active", "deep", "operation"),
        ("globex", "deep", "active", "expired"),
        ("globex", "active", "freeze", "operation"),
        ("globex", "freeze", "active", "cancel"),
    ]


def test_a_refused_request_tells_its_error(once: tuple[int, str, list[Path]]) -> None:
    """Title and detail, once: no line of the worker's log stands between, since the scenario expects the refusal."""
    output = once[1]
    assert "HTTP 422  The TTL is out of range" in output
    assert output.count("the TTL must be from 0.001 to 60 seconds") == 1


def test_the_start_says_what_embedded_means(once: tuple[int, str, list[Path]]) -> None:
    """Nobody should take it for an installation."""
    assert "Nothing survives this process" in once[1]
    assert "5 MiB or 100,000 records" in once[1]


def test_nothing_is_left_in_the_working_folder(once: tuple[int, str, list[Path]]) -> None:
    """Everything was in memory, or in a folder that is gone."""
    assert once[2] == []


def test_afterwards_it_serves_until_interrupted(tmp_path: Path) -> None:
    """The line that it prints works as it is, and so do the commands beside it."""
    with Running("run", folder=tmp_path) as running:
        curl = running.wait_for("curl -s -H", 60)
        exports = running.wait_for("export SLEEP_KAFKA_BOOTSTRAP", 5)
        token, url = curl.split("Bearer ")[1].split("' ")
        present = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, trust_env=False).json()
        assert (present["tenant_id"], present["state"]) == ("acme", "active")

        environment = dict(variable.split("=", 1) for variable in exports.removeprefix("export ").split())
        environment |= {"SLEEP_URL": url.removesuffix("/api/brain/sleep_mode"), "SLEEP_TOKEN": token}
        sent = call(
            "send", "breaker", "forced_open", "--tenant", "acme", "--name", "db", "--json",
            folder=tmp_path, environment=environment,
        )  # fmt: skip
        assert json.loads(sent.stdout)["topic"] == "sleep.breakers"
        running.wait_for("active → freeze  breaker db@", 15)
        state = call("state", "acme", "--json", folder=tmp_path, environment=environment)
        assert json.loads(state.stdout)["state"] == "freeze"

        assert running.interrupt(40) == 0, running.told
        assert "Error" not in running.told
