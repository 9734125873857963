"""`sleepctl worker` and `sleepctl api`: how they begin and how they fail."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
import structlog

from schemas.environment import SettingsError
from schemas.settings import Settings
from tests.unit.sleepctl.conftest import Run
from worker.adapters.kafka_topics import TopicsError

SERVES = {"worker": "worker.runtime.worker.serve", "api": "api.serve.serve"}


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("command", ["worker", "api"])
def test_a_process_serves_with_the_settings_of_its_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """And ends well when it is stopped."""
    served: list[tuple[Settings, bool]] = []

    async def serve(settings: Settings, *, stop: asyncio.Event, **_: object) -> None:
        served.append((settings, stop.is_set()))

    monkeypatch.setattr(SERVES[command], serve)
    assert run(command, SLEEP_PARTITIONS="3").code == 0
    assert [(settings.partitions, stopped) for settings, stopped in served] == [(3, False)]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("command", "port"), [("worker", 4712), ("api", 4711)])
def test_several_processes_share_the_socket_of_their_parent(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, port: int
) -> None:
    """Which is bound once, before the first of them starts."""
    supervised: list[tuple[object, ...]] = []
    monkeypatch.setattr(f"sleepctl.commands.{command}.supervise", lambda *given: supervised.append(given))
    monkeypatch.setattr("schemas.http.server.socket.create_server", lambda address, **_: address)
    ports = {"SLEEP_API_PORT": "4711", "SLEEP_WORKER_METRICS_PORT": "4712"}
    assert run(command, "--processes", "3", **ports).code == 0
    assert supervised == [(command, 3, ("127.0.0.1", port))]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("command", ["worker", "api"])
def test_several_processes_do_not_begin_where_the_port_is_taken(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The same line as of one process."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(98, "in use")

    monkeypatch.setattr("schemas.http.server.socket.create_server", refuse)
    outcome = run(command, "--processes", "2")
    assert (outcome.code, outcome.err.count("\n")) == (1, 1)
    assert "cannot be bound (SLEEP_API_HOST, SLEEP_" in outcome.err


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_a_number_of_processes_that_makes_no_sense_is_refused(run: Run, count: str) -> None:
    """Before anything is read or bound."""
    outcome = run("api", "--processes", count)
    assert outcome.code == 2
    assert "--processes" in outcome.err


@pytest.mark.parametrize("command", ["worker", "api"])
def test_a_process_does_not_begin_with_wrong_settings(run: Run, command: str) -> None:
    """Exit status 2, the variables named, no value shown."""
    outcome = run(command, SLEEP_REDIS_URL="")
    assert outcome.code == 2
    assert "SLEEP_KAFKA_BOOTSTRAP" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("command", [("worker",), ("api",), ("topics", "check")])
def test_a_certificate_that_cannot_be_read_is_a_wrong_setting(run: Run, command: tuple[str, ...]) -> None:
    """And not a Kafka that is away."""
    outcome = run(*command, SLEEP_KAFKA_SECURITY_PROTOCOL="SSL", SLEEP_KAFKA_SSL_CAFILE="/nowhere/ca.pem")
    assert outcome.code == 2
    assert outcome.err.startswith("sleepctl: settings: SLEEP_KAFKA_SSL_CAFILE: the file cannot be read: ")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("command", "error", "code", "message"),
    [
        ("worker", TopicsError("topic x is missing"), 1, "the worker does not start: topic x is missing"),
        ("worker", OSError(98, "in use"), 1, "the worker does not start: OSError"),
        ("api", SettingsError("SLEEP_JWT_JWKS must be set"), 2, "settings: SLEEP_JWT_JWKS must be set"),
        ("api", OSError(98, "in use"), 1, "the API does not start: OSError"),
    ],
)
def test_a_process_that_cannot_start_says_why_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, error: Exception, code: int, message: str
) -> None:
    """No traceback."""

    async def serve(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(SERVES[command], serve)
    outcome = run(command)
    assert outcome.code == code
    assert outcome.err == f"sleepctl: {message}{outcome.err[len('sleepctl: ' + message) :]}"
    assert outcome.err.count("\n") == 1
