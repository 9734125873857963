"""How commands are called here, and an installation behind them."""

from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from sleepctl.main import app
from tests.fakes import NOW
from tests.unit.sleepctl.fakes import REQUIRED, FakeApi, FakeLog, Installation

Run = Callable[..., "Outcome"]


class Outcome:
    """What a command did: its exit status, stdout and stderr."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


@pytest.fixture
def run() -> Run:
    """Call `sleepctl` with these arguments and variables."""

    def call(*arguments: str, **environment: str) -> Outcome:
        result = CliRunner().invoke(app, arguments, env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment in which the required settings are set."""
    with monkeypatch.context() as patch:
        for name, value in REQUIRED.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> FakeLog:
    """Kafka, in memory, in an environment in which the required settings are set."""
    request.getfixturevalue("installed")
    fake = FakeLog()
    monkeypatch.setattr("sleepctl.rules.open_log", lambda _: fake)
    monkeypatch.setattr("sleepctl.send.open_log", lambda _: fake)
    return fake


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeApi]:
    """Put an API with this answer at the other end of every client."""

    def put(status: int, document: object, **headers: str) -> FakeApi:
        fake = FakeApi(status, document, headers)
        monkeypatch.setattr("sleepctl.client.transport", fake.transport)
        return fake

    return put


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation behind the commands."""
    found = Installation()

    async def nothing() -> None:
        return None

    monkeypatch.setattr(found.outputs, "start", nothing, raising=False)
    monkeypatch.setattr(found.outputs, "stop", nothing, raising=False)
    for module in ("rebuilding", "verifying"):
        monkeypatch.setattr(f"sleepctl.{module}.TopicReader", lambda _: found.reader)
        monkeypatch.setattr(f"sleepctl.{module}.Store.connect", lambda _: found.store)
        monkeypatch.setattr(f"sleepctl.{module}.now_ms", lambda: NOW)
    monkeypatch.setattr("sleepctl.rebuilding.Outputs", lambda _: found.outputs)
    return found
