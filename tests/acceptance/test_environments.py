"""Commands as processes in environments, and at the end of pipes, that break programs.

No service is needed. The processes of a test run side by side, two at a time.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.command import PROGRAM, Running, call
from tests.support.environments import FAUST, FAUST_AT_IMPORT, HTTP

AWAY = {"SLEEP_KAFKA_BOOTSTRAP": "127.0.0.1:1", "SLEEP_REDIS_URL": "redis://127.0.0.1:1/0"}
ISSUER = {"SLEEP_JWT_ISSUER": "urn:test", "SLEEP_JWT_AUDIENCE": "sleep"}
STATE = ("state", "acme", "--url", "http://127.0.0.1:1", "--token", "x")
COMMANDS: dict[tuple[str, ...], int] = {
    ("--help",): 0,
    ("settings",): 0,
    STATE: 1,
}
"""Commands and their exit status where no service runs."""
ENVIRONMENTS: Sequence[Mapping[str, str]] = (
    {"COLUMNS": "0", "LINES": "0"},
    {"COLUMNS": "abc", "TERM": "dumb"},
    {"COLUMNS": "-1", "FORCE_COLOR": "1"},
    {"COLUMNS": "1", "NO_COLOR": "1", "TERM": ""},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "xx_YY.UTF-8", "LANG": "nonsense"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"},
    {"HOME": "", "USER": "", "LOGNAME": "", "TMPDIR": "/nonexistent"},
    {"_SLEEPCTL_COMPLETE": "complete_bash"},
    {"HOME": "/nonexistent", "PATH": "", "OPENSSL_CONF": "/nonexistent"},
)


VALUES = ("socks5://x:1", "garbage", "http://127.0.0.1:1", "[::1]", "/nonexistent", "/nonexistent/keys")


def _in_parallel(calls: Sequence[tuple[tuple[str, ...], Mapping[str, str], Path]]) -> list[tuple[int, str, str]]:
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(lambda one: call(*one[0], environment=one[1], folder=one[2]), calls)
        return [(one.returncode, one.stdout, one.stderr) for one in done]


def _check(wanted: int, arguments: Sequence[str], code: int, out: str, err: str) -> None:
    ending = f"{arguments}: {code}\n{out}\n{err}"
    assert code == wanted, ending
    assert "Traceback" not in out + err, ending
    assert "a defect" not in err, ending
    assert out or err, ending
    # click tells a wrong command in three lines.
    assert wanted in (0, 2) or err.count("\n") == 1, ending


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=" ".join)
def test_no_environment_makes_a_command_print_a_traceback_or_nothing(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    """Each has its usual status, and says one clear thing."""
    calls = [(arguments, {**AWAY, **ISSUER, **environment}, tmp_path) for arguments in COMMANDS]
    for (arguments, wanted), done in zip(COMMANDS.items(), _in_parallel(calls), strict=True):
        _check(wanted, arguments, *done)


def test_no_variable_of_http_clients_matters(tmp_path: Path) -> None:
    """Proxies of no use, authorities that are not needed and not there, session keys that cannot be written.

    Each alone is a unit test of the clients; here are all of one value at once.
    """
    proxies = [{name: value for one in HTTP for name, value in one.items() if value == given} for given in VALUES]
    for done in _in_parallel([(STATE, environment, tmp_path) for environment in proxies]):
        _check(1, STATE, *done)
        assert "does not answer" in done[2]


def test_needed_authorities_that_are_wrong_are_named(tmp_path: Path) -> None:
    """By the HTTP client, and by those of Kafka and Redis."""
    secured = ("state", "acme", "--url", "https://127.0.0.1:1", "--token", "x")
    calls = [
        (arguments, {**AWAY, **more, name: "/nonexistent"}, tmp_path)
        for arguments, name, more in (
            (secured, "SSL_CERT_FILE", {}),
            (("topics", "check"), "SSL_CERT_FILE", {"SLEEP_KAFKA_SECURITY_PROTOCOL": "SSL"}),
            (("worker",), "SSL_CERT_DIR", {"SLEEP_REDIS_URL": "rediss://127.0.0.1:1"}),
            (("api",), "SSL_CERT_DIR", {**ISSUER, "SLEEP_JWT_JWKS": "https://127.0.0.1:1/jwks.json"}),
        )
    ]
    for (arguments, environment, _), (code, out, err) in zip(calls, _in_parallel(calls), strict=True):
        _check(2, arguments, code, out, err)
        assert "SSL_CERT_FILE: " in err or "SSL_CERT_DIR: " in err
        assert err.count("\n") == 1, (arguments, environment, err)


def _shell(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `script`, in which `"$@"` is the command."""
    return subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", script, PROGRAM, PROGRAM, *arguments],
        cwd=folder, env={**os.environ, **AWAY}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [("--help",), ("settings", "--json")], ids=" ".join)
def test_no_pipe_makes_a_command_print_a_traceback(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A reader that has gone ends it quietly with 141; a stdout that takes nothing is told in one line."""
    gone = _shell('"$@" | true', tmp_path, *arguments)
    assert (gone.returncode, gone.stderr) in ((141, ""), (0, "")), gone
    for redirection, reason in ((">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")):
        full = _shell(f'"$@" {redirection}', tmp_path, *arguments)
        assert (full.returncode, full.stderr) == (1, f"sleepctl: stdout cannot be written: {reason}\n")
    for redirection in ("2>&-", "<&-", "2>/dev/full"):
        other = _shell(f'"$@" {redirection}', tmp_path, *arguments)
        assert other.returncode == 0
        assert other.stdout
    assert _shell('"$@" <&- >&- 2>&-', tmp_path, *arguments).returncode == 1


def test_a_failure_keeps_its_status_where_nobody_hears_of_it(tmp_path: Path) -> None:
    """Stderr is closed, full, or a pipe without a reader."""
    for redirection in ("2>&-", "2>/dev/full", "2> >(true)"):
        assert _shell(f'"$@" {redirection}', tmp_path, *STATE).returncode == 1


def test_a_working_directory_that_is_gone_is_no_matter(tmp_path: Path) -> None:
    """Unless something is to be written there."""
    for arguments, wanted in ((("--version",), 0), (("settings",), 0), (STATE, 1), (("token", "--new-key", "k"), 1)):
        folder = tmp_path / "gone"
        folder.mkdir()
        done = _shell('rmdir "$PWD"; export SLEEP_JWT_ISSUER=a SLEEP_JWT_AUDIENCE=b; "$@"', folder, *arguments)
        # Where the checkout's path has a space, `sh` starts an installed command, and says this itself.
        err = done.stderr.removeprefix("sh: 0: getcwd() failed: No such file or directory\n")
        _check(wanted, arguments, done.returncode, done.stdout, err)


def test_no_environment_at_all_is_enough(tmp_path: Path) -> None:
    """No HOME, no PATH, no locale."""
    done = _shell('exec -c "$@"', tmp_path, "settings", "--json")
    assert {entry["name"] for entry in json.loads(done.stdout) if entry["problem"]} == set(AWAY)


def test_a_key_is_not_written_to_a_folder_that_takes_none(tmp_path: Path) -> None:
    """Which is named."""
    done = call("token", "--new-key", "/proc/none", folder=tmp_path, environment=ISSUER)
    _check(1, ("token",), done.returncode, done.stdout, done.stderr)
    assert "/proc/none" in done.stderr


def test_json_stays_json_whatever_the_encoding(tmp_path: Path) -> None:
    """It is UTF-8."""
    environment = {**AWAY, "SLEEP_CONSUMER_GROUP": "größe→", "PYTHONIOENCODING": "ascii"}
    done = call("settings", "--json", folder=tmp_path, environment=environment)
    (value,) = (one["value"] for one in json.loads(done.stdout) if one["name"] == "SLEEP_CONSUMER_GROUP")
    assert value == "größe→"


LINKS = {
    "SLEEP_API_PORT": "tcp://10.96.0.17:8080",
    "SLEEP_API_SERVICE_HOST": "10.96.0.17",
    "SLEEP_WORKER_METRICS_PORT": "tcp://10.96.0.18:8081",
    "SLEEP_WORKER_METRICS_PORT_8081_TCP": "tcp://10.96.0.18:8081",
}


def loopback() -> str:
    """Return an address of this process alone, where the default ports are free whatever else runs here (Linux)."""
    high, low = divmod(os.getpid() % 62_500, 250)
    return f"127.1.{high}.{low + 1}"


@pytest.mark.parametrize("command", ["worker", "api"])
def test_a_process_starts_and_stops_in_a_hostile_environment(tmp_path: Path, command: str) -> None:
    """Service links are ignored with a warning; empty variables are unset; nothing of the shell matters."""
    keys = tmp_path / "keys"
    assert call("token", "--new-key", str(keys), folder=tmp_path, environment=ISSUER).returncode == 0
    hostile = {
        **{name: value for one in HTTP for name, value in one.items()},
        **FAUST,
        **FAUST_AT_IMPORT,
        **LINKS,
        **ISSUER,
        "SLEEP_API_HOST": loopback(),
        "SLEEP_OPA_URL": "",
        "SLEEP_REDIS_PREFX": "x",
        "SLEEP_JWT_JWKS": str(keys / "jwks.json"),
        "PYTHONWARNINGS": "error",
        "COLUMNS": "0",
        **AWAY,
    }
    with Running(command, folder=tmp_path, environment=hostile) as process:
        assert "service links are ignored" in process.wait_for("environment_ignored", 30)
        assert "is SLEEP_REDIS_PREFIX meant?" in process.wait_for("environment_ignored", 30)
        process.wait_for({"worker": "waiting_for_kafka", "api": "api_serving"}[command], 30)
        assert process.stop(signal.SIGTERM, 30) == 0
    assert "Traceback" not in process.told
