"""The settings of the gate: checked at the start, with one clear error."""

from pathlib import Path

import pytest

from sleep_client.gate import __main__ as program
from sleep_client.gate.settings import SETTINGS, SettingsError, read_settings
from sleep_client.obeying import Form
from tests.support.gate import REQUIRED, settings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "gate.md"


def test_the_defaults() -> None:
    """They deny what they do not know, and listen on loopback."""
    read = settings()
    assert read._replace(token="") == (
        "https://sleep.example", "", Form(403, 403, 401), frozenset(), b"x-tenant-id", "deny", "deny", 60.0, "hold",
        False, None, "127.0.0.1", 8090, 1024,
    )  # fmt: skip


def test_all_of_them() -> None:
    """Each is read."""
    read = settings(
        PROXY="envoy", DENY="freeze, deep", TENANT_HEADER="X-Customer", NO_TENANT="allow", NOT_READY="allow",
        MAX_STALE_SECONDS="0.5", WHEN_STALE="deny", PARAMETERS="true", TENANTS="globex,acme", HOST="::1", PORT="0",
        CONNECTIONS="2",
    )  # fmt: skip
    assert read[2:] == (
        Form(429, 429, 400), frozenset({"freeze", "deep"}), b"x-customer", "allow", "allow", 0.5, "deny", True,
        ("acme", "globex"), "::1", 0, 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLEEP_URL", ""),
        ("SLEEP_URL", "ftp://secret"),
        ("SLEEP_URL", "https://user:secret@sleep.example"),
        ("SLEEP_TOKEN", ""),
        ("SLEEP_TOKEN", "Bearer secret"),
        ("SLEEP_TOKEN", "secret secret"),
        ("SLEEP_GATE_PROXY", ""),
        ("SLEEP_GATE_PROXY", "secret"),
        ("SLEEP_GATE_DENY", "freeze,secret"),
        ("SLEEP_GATE_DENY", "freeze,"),
        ("SLEEP_GATE_TENANT_HEADER", "X Secret"),
        ("SLEEP_GATE_NO_TENANT", "secret"),
        ("SLEEP_GATE_NOT_READY", "secret"),
        ("SLEEP_GATE_MAX_STALE_SECONDS", "-1"),
        ("SLEEP_GATE_MAX_STALE_SECONDS", "inf"),
        ("SLEEP_GATE_WHEN_STALE", "secret"),
        ("SLEEP_GATE_PARAMETERS", "yes"),
        ("SLEEP_GATE_TENANTS", "acme,,globex"),
        ("SLEEP_GATE_TENANTS", ",".join(f"tenant-{number}" for number in range(201))),
        ("SLEEP_GATE_PORT", "65536"),
        ("SLEEP_GATE_PORT", "8o80"),
        ("SLEEP_GATE_CONNECTIONS", "1"),
        ("SLEEP_GATE_DENI", "freeze"),
        ("SLEEP_TOKEN_FILE", "/nowhere"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    """Without the value, where it may be a secret."""
    with pytest.raises(SettingsError) as error:
        read_settings(REQUIRED | {name: value})
    assert str(error.value).startswith("SLEEP_TOKEN:" if name == "SLEEP_TOKEN_FILE" else f"{name}:")
    assert "secret" not in str(error.value).lower()


def test_a_gate_that_denies_nothing_needs_no_proxy() -> None:
    """One for OpenFeature alone."""
    open_gate = {"SLEEP_GATE_PROXY": "", "SLEEP_GATE_NO_TENANT": "allow", "SLEEP_GATE_NOT_READY": "allow"}
    assert read_settings(REQUIRED | open_gate).form == Form()
    with pytest.raises(SettingsError, match="SLEEP_GATE_PROXY"):
        read_settings(REQUIRED | open_gate | {"SLEEP_GATE_DENY": "freeze"})


def test_a_token_from_a_file_is_read_each_time(tmp_path: Path) -> None:
    """A wrong file is told at the start."""
    file = tmp_path / "token"
    environ = REQUIRED | {"SLEEP_TOKEN": "", "SLEEP_TOKEN_FILE": str(file)}
    with pytest.raises(SettingsError, match=r"^SLEEP_TOKEN_FILE: the file cannot be read: FileNotFoundError"):
        read_settings(environ)
    file.write_text("first\n")
    token = read_settings(environ).token
    assert callable(token)
    assert token() == "first"
    file.write_text("second")
    assert token() == "second"
    file.write_text("not a token")
    with pytest.raises(SettingsError, match=r"^SLEEP_TOKEN_FILE: it is empty"):
        read_settings(environ)


def test_service_links_of_kubernetes_are_no_settings() -> None:
    """A Service may be called `sleep-gate`."""
    links = {
        "SLEEP_GATE_PORT": "tcp://10.96.0.17:8090",
        "SLEEP_GATE_SERVICE_HOST": "10.96.0.17",
        "SLEEP_GATE_SERVICE_PORT": "8090",
        "SLEEP_GATE_SERVICE_PORT_HTTP": "8090",
        "SLEEP_GATE_PORT_8090_TCP_ADDR": "10.96.0.17",
    }
    assert read_settings(REQUIRED | links) == settings()


def test_a_wrong_setting_ends_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2 and one line."""
    for name, value in (REQUIRED | {"SLEEP_GATE_DENY": "asleep"}).items():
        monkeypatch.setenv(name, value)
    assert program.main() == 2
    assert (
        capsys.readouterr().err
        == "sleep-gate: SLEEP_GATE_DENY: use names of active, deep, freeze, light, with commas\n"
    )


def test_the_page_lists_the_settings() -> None:
    """Each with its default and its meaning."""
    page = PAGE.read_text(encoding="utf-8")
    for name, setting in SETTINGS.items():
        default = f"`{setting.default}`" if setting.default else "(none)"
        assert f"| `{name}` | {default} | `{setting.example}` | {setting.meaning} |\n" in page
