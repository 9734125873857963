"""Settings: one frozen object, read once from `SLEEP_` environment variables in the entry point."""

import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import from_json
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.names import Topics
from schemas.policy import field_errors
from schemas.values import OPA_PATTERN, PREFIX_PATTERN

Action = Literal[
    "read",
    "sleep",
    "cognitive_sleep",
    "cognitive_sleep_override",
    "cognitive_sleep_policy",
    "emit",
    "list",
]
"""What a caller may ask for, as the authorisation policy and the rate limits name it."""

ANY_ACTION: Final = "*"
RATE_LIMITS: Final[dict[Literal[Action, "*"], str]] = {"*": "600/minute", "read": "6000/minute", "emit": "60000/minute"}
"""The rate limits of who sets none."""
# The notation of the `limits` library, narrowed: no zero, and no window that a list in Redis could not hold.
_LIMIT: Final = r"[1-9][0-9]{0,6} *(/|per) *([1-9][0-9]{0,3} *)?(second|minute|hour|day|month|year)s?"
_LIMITS: Final = re.compile(rf" *{_LIMIT} *([;,|] *{_LIMIT} *)*", re.IGNORECASE)


class SettingsError(Exception):
    """Settings that are missing or wrong; the message names each variable and never shows a value."""


class CertificateError(SettingsError, OSError):
    """A certificate or key that cannot be loaded.

    It is an OSError too, for who lost its files while it runs: it waits for them as for the broker.

    Attributes:
        variables: whose file it is; more than one where they do not fit each other.
        reason: why.
    """

    def __init__(self, variables: tuple[str, ...], reason: str) -> None:
        super().__init__(f"{', '.join(variables)}: {reason}")
        self.variables = variables
        self.reason = reason


class Ingress(BaseModel):
    """A topic of breaker events from emitters outside our trust.

    `tenant` says where the tenant is found: `subject` is the CloudEvent's attribute of that name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: Annotated[str, Field(min_length=1)]
    format: Literal["cloudevents"] = "cloudevents"
    tenant: Literal["subject"] = "subject"


def _is_a_redis_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "redis+cluster://")):
        msg = "it must start with redis://, rediss:// or redis+cluster://"
        raise ValueError(msg)
    _require_host(url.get_secret_value())
    return url


def _is_a_place(location: str) -> str:
    """Refuse an http(s) URL that no request could be made of; a file or another word passes."""
    if location.startswith(("http://", "https://")):
        _require_host(location)
    return location


def _require_host(url: str) -> None:
    try:
        hosted = urlsplit(url)
        _ = hosted.port
    except ValueError:
        # The parser's own message quotes what it takes for the port, which may be a part of the password.
        hosted = None
    if hosted is None or not hosted.hostname:
        msg = "it names no host and port; percent-encode / # ? and @ in the password"
        raise ValueError(msg)


def _require_readable(variable: str, path: str | None) -> None:
    if path is None:
        return
    try:
        Path(path).read_bytes()
    except OSError as error:
        raise CertificateError((variable,), f"the file cannot be read: {error.strerror}") from None


def _json_of(kind: type, wanted: str) -> BeforeValidator:
    """Read a variable that holds JSON, and say what is wanted where it does not."""

    def read(given: object) -> object:
        if not isinstance(given, str):
            return given
        try:
            found = from_json(given)
        except ValueError:
            found = None
        if not isinstance(found, kind):
            msg = f"must be {wanted}"
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports no TypeError
        return found

    return BeforeValidator(read)


def _is_a_limit(text: str) -> str:
    if _LIMITS.fullmatch(text) is None:
        msg = "it must be like 600/minute or 10/second; 600/minute"
        raise ValueError(msg)
    return text


class Settings(BaseSettings):
    """Every setting, its default and its meaning; `SLEEP_` is the prefix of each variable."""

    model_config = SettingsConfigDict(env_prefix="SLEEP_", frozen=True, extra="ignore")

    kafka_bootstrap: Annotated[str, Field(min_length=1, description="Kafka brokers, host:port, comma-separated.")]
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Field(description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."),
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], Field(description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: Annotated[str | None, Field(description="SASL user.")] = None
    kafka_sasl_password: Annotated[SecretStr | None, Field(description="SASL password.")] = None
    kafka_ssl_cafile: Annotated[str | None, Field(description="CA certificates (PEM); default: the system's.")] = None
    kafka_ssl_certfile: Annotated[str | None, Field(description="Client certificate (PEM).")] = None
    kafka_ssl_keyfile: Annotated[str | None, Field(description="Client key (PEM).")] = None
    kafka_ssl_password: Annotated[SecretStr | None, Field(description="Password of the client key.")] = None
    redis_url: Annotated[
        SecretStr,
        AfterValidator(_is_a_redis_url),
        Field(description="redis://, rediss:// or redis+cluster:// URL. Masked, since it may hold a password."),
    ]
    redis_prefix: Annotated[str, Field(pattern=PREFIX_PATTERN, description="First part of each Redis key.")] = "sleep"
    topic_prefix: Annotated[str, Field(pattern=PREFIX_PATTERN, description="First part of each topic's name.")] = (
        "sleep"
    )
    partitions: Annotated[int, Field(ge=1, le=10_000, description="Partitions of the tenants' topics.")] = 8
    replication: Annotated[int, Field(ge=1, le=9, description="Replicas that `topics create` asks for.")] = 1
    consumer_group: Annotated[str, Field(min_length=1, description="Consumer group of the workers.")] = "sleep-worker"
    opa_url: Annotated[
        str,
        AfterValidator(_is_a_place),
        Field(
            pattern=OPA_PATTERN,
            description="OPA server, or `embedded` for the shipped policy.",
        ),
    ] = "embedded"
    jwt_jwks: Annotated[
        Annotated[str, AfterValidator(_is_a_place)] | None,
        Field(description="JWKS that verifies tokens: URL or file. The API needs it."),
    ] = None
    jwt_issuer: Annotated[str | None, Field(description="Expected `iss`. The API needs it.")] = None
    jwt_audience: Annotated[str | None, Field(description="Expected `aud`. The API needs it.")] = None
    jwt_tenant_claim: Annotated[str, Field(min_length=1, description="Claim that holds the tenant.")] = "tenant_id"
    rate_limits: Annotated[
        dict[Literal[Action, "*"], Annotated[str, AfterValidator(_is_a_limit)]],
        NoDecode,  # pydantic-settings would raise an error of its own
        _json_of(dict, 'a JSON object of limits, such as {"sleep": "600/minute"}'),
        Field(
            min_length=1,
            description="JSON object, action or `*` to a limit per tenant and action, such as `600/minute` or "
            "`10/second; 600/minute`. `*` is for every action that is not named; without it, the default stands for "
            "those.",
        ),
    ] = RATE_LIMITS
    deadletter_max_ratio: Annotated[
        float,
        Field(
            ge=0, le=1, description="A lane stops once our own code failed on more than this share of 1,000 records."
        ),
    ] = 0.5
    ingress: Annotated[
        tuple[Ingress, ...] | None,
        NoDecode,
        _json_of(list, 'a JSON list of topics, such as [{"topic": "payments"}]'),
        Field(description="JSON list of ingress topics; default: the breakers topic, CloudEvents."),
    ] = None
    api_host: Annotated[str, Field(description="Address that the API and the worker's status page bind.")] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65_535, description="Port of the API; 0 takes a free one.")] = 8080
    worker_metrics_port: Annotated[int, Field(ge=0, le=65_535, description="Port of the worker's status page.")] = 8081
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="debug, info, warning or error.")
    ] = "info"
    log_format: Annotated[Literal["json", "console"], Field(description="json or console.")] = "json"

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _in_any_case(cls, given: object) -> object:
        return given.lower() if isinstance(given, str) else given

    @field_validator("ingress")
    @classmethod
    def _ends(cls, ingress: tuple[Ingress, ...] | None, found: ValidationInfo) -> tuple[Ingress, ...] | None:
        """Refuse a topic that we write to, since forwarding would never end, and one that is named twice."""
        topics = Topics.of(found.data.get("topic_prefix", ""))
        names = [source.topic for source in ingress or ()]
        for name in names:
            if name in topics and name != topics.breakers:
                msg = f"{name} is a topic that sleep itself writes to; name those of emitters"
                raise ValueError(msg)
            if names.count(name) > 1:
                msg = f"{name} is named twice"
                raise ValueError(msg)
        return ingress

    @property
    def topics(self) -> Topics:
        """The names of the topics."""
        return Topics.of(self.topic_prefix)

    @property
    def ingress_topics(self) -> tuple[Ingress, ...]:
        """The ingress topics, by default the breakers topic alone."""
        return (Ingress(topic=self.topics.breakers),) if self.ingress is None else self.ingress

    def kafka_client(self) -> dict[str, Any]:
        """Return the keyword arguments that every aiokafka client shares.

        Raises:
            CertificateError: if a certificate or key cannot be loaded.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap,
            "security_protocol": self.kafka_security_protocol,
        }
        if (context := self.kafka_ssl_context()) is not None:
            options["ssl_context"] = context
        if self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_password is not None:
            options |= {
                "sasl_mechanism": self.kafka_sasl_mechanism,
                "sasl_plain_username": self.kafka_sasl_username,
                "sasl_plain_password": self.kafka_sasl_password.get_secret_value(),
            }
        return options

    def kafka_ssl_context(self) -> ssl.SSLContext | None:
        """Return how to speak TLS with the brokers; None where it is not spoken.

        Raises:
            CertificateError: if a certificate or key cannot be loaded.
        """
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        certfile, keyfile = self.kafka_ssl_certfile, self.kafka_ssl_keyfile
        for name, path in (("CAFILE", self.kafka_ssl_cafile), ("CERTFILE", certfile), ("KEYFILE", keyfile)):
            # The library's own error names no file.
            _require_readable(f"SLEEP_KAFKA_SSL_{name}", path)
        try:
            context = ssl.create_default_context(cafile=self.kafka_ssl_cafile)
        except ssl.SSLError:
            raise CertificateError(("SLEEP_KAFKA_SSL_CAFILE",), "the file holds no certificates (PEM)") from None
        if certfile is None:
            return context
        password = self.kafka_ssl_password
        try:
            # Without any, a locked key would have the library ask whoever sits at the terminal.
            context.load_cert_chain(certfile, keyfile, "" if password is None else password.get_secret_value())
        except (ssl.SSLError, ValueError):
            raise CertificateError(
                tuple(f"SLEEP_KAFKA_SSL_{name}" for name in ("CERTFILE", "KEYFILE", "PASSWORD")),
                "certificate and key (PEM) do not fit each other, or the password does not open the key",
            ) from None
        return context

    def limit_of(self, action: Action) -> str:
        """Return the rate limit of an action, in the notation of the `limits` library."""
        limits = self.rate_limits if ANY_ACTION in self.rate_limits else RATE_LIMITS | self.rate_limits
        return limits.get(action, limits[ANY_ACTION])

    @property
    def redis_is_cluster(self) -> bool:
        """Whether the URL names a Redis Cluster."""
        return self.redis_url.get_secret_value().startswith("redis+cluster://")

    @property
    def redis_address(self) -> str:
        """The URL as redis-py reads it, with any password; never log it."""
        return self.redis_url.get_secret_value().replace("redis+cluster://", "redis://", 1)

    def require(self, *names: str) -> None:
        """Refuse to go on where one of these settings is absent.

        Raises:
            SettingsError: naming each absent variable.
        """
        absent = [f"SLEEP_{name.upper()}" for name in names if getattr(self, name) is None]
        if absent:
            msg = f"{', '.join(absent)} must be set"
            raise SettingsError(msg)


def refusals(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Yield each wrong setting's field and why, with the place inside it where it holds JSON."""
    for found in field_errors(error):
        name, *inside = (part for part in found.field.split(".") if part != "[key]")
        place = "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in inside)
        yield name, f"at {place.removeprefix('.')}: {found.reason}" if place else found.reason


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: naming each variable that is missing or wrong, and why.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        findings = "; ".join(f"SLEEP_{field.upper()}: {reason}" for field, reason in refusals(error))
        raise SettingsError(findings) from None
    if settings.kafka_security_protocol.startswith("SASL"):
        settings.require("kafka_sasl_username", "kafka_sasl_password")
    settings.kafka_ssl_context()
    return settings
