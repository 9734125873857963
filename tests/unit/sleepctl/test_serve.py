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
