"""How commands are called here, and an installation behind them."""

import signal
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from schemas.kafka.source_record import Failure
from sleepctl.main import app
from tests.support.fakes import FakeClock, FakeKafka, FakeOutputs
from tests.support.records import Source
from tests.support.times import MINUTE, NOW
from tests.unit.sleepctl.fakes import REQUIRED, TOPICS, FakeApi, FakeLog, FakeReader, Installation
from worker.fold.dead_letter import dead_letter

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
    monkeypatch.setattr("sleepctl.commands.rules.KafkaLog", lambda _: fake)
    monkeypatch.setattr("sleepctl.commands.send.KafkaLog", lambda _: fake)
    return fake


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeApi]:
    """Put an API with this answer at the other end of every client."""

    def put(status: int, document: object, **headers: str) -> FakeApi:
        fake = FakeApi(status, document, headers)
        monkeypatch.setattr("sleepctl.io.api_client.transport", fake.transport)
        return fake

    return put


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation behind the commands."""
    fake = Installation()

    async def nothing() -> None:
        return None

    monkeypatch.setattr(fake.outputs, "start", nothing, raising=False)
    monkeypatch.setattr(fake.outputs, "stop", nothing, raising=False)
    for module in ("rebuild", "verify"):
        monkeypatch.setattr(f"worker.recovery.{module}.TopicReader", lambda _: fake.reader)
        monkeypatch.setattr(f"worker.recovery.{module}.LaneStore.connect", lambda _: fake.store)
    monkeypatch.setattr("worker.recovery.what_if.range_replay.TopicReader", lambda _: fake.reader)
    monkeypatch.setattr("worker.recovery.what_if.range_finder.now_ms", lambda: NOW + MINUTE)
    monkeypatch.setattr("worker.recovery.rebuild.now_ms", lambda: NOW)
    monkeypatch.setattr("worker.recovery.rebuild.KafkaOutputs", lambda _: fake.outputs)
    return fake


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    """A Kafka with three dead letters, one of which was cut."""
    fake = FakeKafka(FakeClock(NOW))
    outputs = FakeOutputs(fake, TOPICS)

    async def nothing() -> None:
        return None

    monkeypatch.setattr(outputs, "start", nothing, raising=False)
    monkeypatch.setattr(outputs, "stop", nothing, raising=False)
    monkeypatch.setattr("worker.adapters.topic_reader.TopicReader", lambda _: FakeReader(fake))
    monkeypatch.setattr("worker.adapters.kafka_producer.KafkaOutputs", lambda _: outputs)
    dead_letters = [
        dead_letter(Source(5, NOW, b"acme", b"{", partition=2), Failure("undecodable", "no JSON")),
        dead_letter(Source(4, NOW - 1, b"acme", b"x" * 70_000, partition=2), Failure("oversize", "too large")),
        dead_letter(
            Source(6, NOW + 1, None, b"[]", partition=1), Failure("fold_failed", "Trace\nValueError: x", ours=True)
        ),
    ]
    fake.log(TOPICS.deadletter, 2).append(dead_letters)
    return fake


def shown(run: Run, which: str, *more: str) -> str:
    """Return what one dead letter is shown as."""
    outcome = run("deadletters", "list", "--show", which, *more)
    assert outcome.code == 0, outcome.err
    return outcome.out


@pytest.fixture(autouse=True)
def _signals_of_a_terminal() -> Iterator[None]:
    """Let SIGINT and SIGHUP count, for the processes of a test too: a script, or `nohup`, may have had them ignored."""
    usual = ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL))
    before = [(number, signal.signal(number, handler)) for number, handler in usual]
    yield
    for number, handler in before:
        signal.signal(number, handler)
