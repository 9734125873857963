"""Commands as processes, where no service is needed."""

import json
from pathlib import Path

import pytest

from tests.support.command import call

ABSENT = {"SLEEP_KAFKA_BOOTSTRAP": "127.0.0.1:1", "SLEEP_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}


def test_settings_are_listed_where_none_is_set(tmp_path: Path) -> None:
    """In well under the time that Faust takes to load."""
    done = call("settings", "--json", folder=tmp_path, seconds=10)
    assert done.returncode == 1
    assert {entry["name"] for entry in json.loads(done.stdout) if entry["problem"]} == {
        "SLEEP_KAFKA_BOOTSTRAP",
        "SLEEP_REDIS_URL",
    }


@pytest.mark.parametrize("command", ["worker", "api"])
def test_a_process_without_settings_exits_with_2(tmp_path: Path, command: str) -> None:
    """A supervisor should not try again and again."""
    done = call(command, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "SLEEP_KAFKA_BOOTSTRAP" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("topics", "check"),
        ("rules", "show"),
        ("send", "breaker", "open", "--tenant", "acme", "--name", "db"),
        ("state", "acme", "--url", "http://127.0.0.1:1", "--token", "hunter2"),
    ],
)
def test_a_service_that_is_away_is_one_line_without_a_secret(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """And exit status 1."""
    done = call(*arguments, folder=tmp_path, environment=ABSENT)
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not answer" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "AddressFamily" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_a_token_is_all_that_stdout_holds(tmp_path: Path) -> None:
    """So that a shell can take it as it is."""
    issued = {"SLEEP_JWT_ISSUER": "urn:test", "SLEEP_JWT_AUDIENCE": "sleep"}
    done = call("token", "--tenant", "acme", "--new-key", "keys", folder=tmp_path, environment=issued)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split(".")) == 3
    assert done.stdout.count("\n") == 1
    assert (tmp_path / "keys" / "key.pem").stat().st_mode & 0o777 == 0o600
