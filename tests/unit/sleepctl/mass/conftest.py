"""Commands over many tenants, as an operator calls them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.sleepctl.conftest import Outcome, Run
from tests.unit.sleepctl.mass.fakes import Tenants, token_of

Call = Callable[..., Outcome]
DOOR = {"SLEEP_URL": "http://api:8080", "SLEEP_TOKEN": token_of("ops")}


@pytest.fixture
def tenants(monkeypatch: pytest.MonkeyPatch) -> Tenants:
    """Three tenants that sleep, behind the API of every command."""
    made = Tenants("acme", "globex", "initech")
    monkeypatch.setattr("sleepctl.io.api_client.transport", made.transport)
    return made


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of runs that are given by name."""
    return tmp_path / "somabrain-sleep" / "runs"


@pytest.fixture
def call(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call `sleepctl` as an operator. Nothing waits."""

    async def pause(_seconds: float) -> None:
        return None

    monkeypatch.setattr("sleepctl.mass.patient_api.PAUSE", pause)

    def sleepctl(*arguments: str, **environment: str) -> Outcome:
        return run(*arguments, **{"XDG_STATE_HOME": str(tmp_path), **DOOR, **environment})

    return sleepctl
