"""Settings: one frozen object, read once from `SLEEP_` environment variables in the entry point."""

import ssl
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from schemas.budgets import ANY_ACTION, RATE_LIMITS, Budget
from schemas.domain.values import OPA_PATTERN, PREFIX_PATTERN
from schemas.environment import FromEnvironment, SettingsError
from schemas.formats.settings import HttpFormat
from schemas.names import Topics
from schemas.setting_types import (
    BindHost,
    Brokers,
    ClientId,
    Decimal,
    Ingress,
    IssuerUrl,
    KeyLocation,
    Limit,
    Port,
    ProxyUrl,
    RedisUrl,
    ServerUrl,
    Whole,
    is_url,
    json_of,
)
from schemas.tls import client_context, load_identity, require_readable

INGRESS_TENANT_LIMIT: Final = 100
"""Events a second. A tenant with all of its 256 breaker claims repeats them once in 300 s, which is one a second."""


class Ports(FromEnvironment):
    """The two settings of an installation that `sleepctl run` takes from the environment."""

    api_port: Port = 8080
    worker_metrics_port: Port = 8081


class Settings(FromEnvironment):
    """Every setting, its default and its meaning; `SLEEP_` is the prefix of each variable."""

    kafka_bootstrap: Annotated[
        Brokers, Field(description="Kafka brokers, host:port, comma-separated.", examples=["kafka-1:9092,kafka-2:9092"])
    ]
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Field(description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.", examples=["SASL_SSL"]),
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        Field(description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.", examples=["SCRAM-SHA-512"]),
    ] = "SCRAM-SHA-512"
    kafka_sasl_username: Annotated[str | None, Field(description="SASL user.", examples=["sleep"])] = None
    kafka_sasl_password: Annotated[SecretStr | None, Field(description="SASL password.", examples=["secret"])] = None
    kafka_ssl_cafile: Annotated[
        str | None,
        Field(
            description="CA certificates (PEM); default: those of SSL_CERT_FILE and SSL_CERT_DIR, else the system's.",
            examples=["/etc/kafka-tls/ca.crt"],
        ),
    ] = None
    kafka_ssl_certfile: Annotated[
        str | None, Field(description="Client certificate (PEM).", examples=["/etc/kafka-tls/tls.crt"])
    ] = None
    kafka_ssl_keyfile: Annotated[
        str | None, Field(description="Client key (PEM).", examples=["/etc/kafka-tls/tls.key"])
    ] = None
    kafka_ssl_password: Annotated[
        SecretStr | None, Field(description="Password of the client key.", examples=["secret"])
    ] = None
    redis_url: Annotated[
        RedisUrl,
        Field(
            description="redis://, rediss:// or redis+cluster:// URL. Masked, because it may have a password.",
            examples=["redis://:password@redis:6379/0"],
        ),
    ]
    redis_prefix: Annotated[
        str, Field(pattern=PREFIX_PATTERN, description="First part of each Redis key.", examples=["sleep"])
    ] = "sleep"
    topic_prefix: Annotated[
        str, Field(pattern=PREFIX_PATTERN, description="First part of each topic's name.", examples=["sleep"])
    ] = "sleep"
    partitions: Annotated[
        Whole, Field(ge=1, le=10_000, description="Partitions of the tenants' topics.", examples=["8"])
    ] = 8
    replication: Annotated[
        Whole, Field(ge=1, le=9, description="Replicas of the topics that `topics create` creates.", examples=["3"])
    ] = 1
    consumer_group: Annotated[
        str,
        Field(
            min_length=1,
            max_length=255,
            description="Consumer group of the workers. Ingress uses a second group: this name with `-ingress` "
            "appended.",
            examples=["sleep-worker"],
        ),
    ] = "sleep-worker"
    opa_url: Annotated[
        ServerUrl,
        Field(
            pattern=OPA_PATTERN,
            description="OPA server, or `embedded` for the shipped policy.",
            examples=["http://opa:8181"],
        ),
    ] = "embedded"
    jwt_jwks: Annotated[
        KeyLocation | None,
        Field(
            description="JWKS that verifies tokens: URL or file. The API needs it.",
            examples=["https://issuer.example/.well-known/jwks.json"],
        ),
    ] = None
    jwt_jwks_proxy: Annotated[
        ProxyUrl | None,
        Field(
            description="HTTP proxy for the JWKS URL. HTTP_PROXY and similar variables are ignored.",
            examples=["http://proxy:3128"],
        ),
    ] = None
    jwt_issuer: Annotated[
        str | None, Field(description="Expected `iss`. The API needs it.", examples=["https://issuer.example/"])
    ] = None
    jwt_audience: Annotated[
        str | None, Field(description="Expected `aud`. The API needs it.", examples=["somabrain-sleep"])
    ] = None
    jwt_tenant_claim: Annotated[
        str, Field(min_length=1, description="Claim that holds the tenant.", examples=["tenant_id"])
    ] = "tenant_id"
    rate_limits: Annotated[
        dict[Literal[Budget, "*"], Limit],
        NoDecode,  # pydantic-settings would raise an error of its own
        json_of(dict, "a JSON object of limits"),
        Field(
            min_length=1,
            description="JSON object: a limit for each action, per tenant, such as `600/minute` or `10/second; "
            "600/minute`. "
            "Three more names: `wake` for requests that wake a tenant (a cancel, mode `active`), `mass` for requests "
            "of an operator's run over many tenants, `refused` for the refused requests of a subject. `*` applies to "
            "every name that is absent. Without `*` the default applies to those.",
            examples=['{"sleep": "600/minute"}'],
        ),
    ] = RATE_LIMITS
    deadletter_max_ratio: Annotated[
        Decimal,
        Field(
            ge=0,
            le=1,
            description="A lane stops when our own code fails on more than this share of 1,000 records.",
            examples=["0.5"],
        ),
    ] = 0.5
    ingress: Annotated[
        tuple[Ingress, ...] | None,
        NoDecode,
        json_of(list, "a JSON list of topics"),
        Field(
            description="JSON list of ingress topics: the format of each, and where its tenant is found; default: the "
            "breakers topic, CloudEvents. The settings page has an example of each format.",
            examples=['[{"topic": "payments"}]'],
        ),
    ] = None
    http_formats: Annotated[
        tuple[HttpFormat, ...],
        NoDecode,
        json_of(list, "a JSON list of formats"),
        Field(
            description="JSON list of formats of `POST /api/breakers/{format}` whose tenant, breaker or instance is "
            "not at the default place.",
            examples=['[{"format": "alertmanager", "tenant": "label:customer"}]'],
        ),
    ] = ()
    ingress_tenant_limit: Annotated[
        Whole,
        Field(
            ge=1,
            le=1_000_000,
            description="Events a second that ingress forwards of one tenant from one partition of a topic. Above "
            "it they "
            "wait, and a later one of the same breaker and instance replaces a waiting one.",
            examples=["100"],
        ),
    ] = INGRESS_TENANT_LIMIT
    api_host: Annotated[
        BindHost,
        Field(description="Address on which the API and the worker's status page listen.", examples=["0.0.0.0"]),  # noqa: S104 - what a container needs
    ] = "127.0.0.1"
    api_port: Annotated[Port, Field(description="Port of the API; 0 takes a free one.", examples=["8080"])] = 8080
    worker_metrics_port: Annotated[
        Port, Field(description="Port of the worker's status page; 0 takes a free one.", examples=["8081"])
    ] = 8081
    api_connections: Annotated[
        Whole,
        Field(
            ge=1,
            le=65_536,
            description="Most connections to one API process. One without a request takes about 20 KiB. A low limit of "
            "open files lowers this number. Above it only probes get an answer; other requests get 503.",
            examples=["8192"],
        ),
    ] = 8_192
    api_connections_per_address: Annotated[
        Whole,
        Field(
            ge=1,
            le=65_536,
            description="Most connections to one API process from one IPv4 address, or one /64 of IPv6. All callers "
            "behind a proxy count as one address.",
            examples=["5000"],
        ),
    ] = 5_000
    console: Annotated[
        bool, Field(description="Whether the API serves the console at /console/.", examples=["false"])
    ] = True
    console_oidc_issuer: Annotated[
        IssuerUrl | None,
        Field(description="OpenID issuer that signs in to the console.", examples=["https://issuer.example/"]),
    ] = None
    console_oidc_client_id: Annotated[
        ClientId | None, Field(description="Client id of the console at that issuer.", examples=["sleep-console"])
    ] = None
    worker_connections: Annotated[
        Whole,
        Field(ge=1, le=65_536, description="Most connections to the status page of one worker.", examples=["1024"]),
    ] = 1_024
    worker_connections_per_address: Annotated[
        Whole,
        Field(ge=1, le=65_536, description="Most connections to that page from one address.", examples=["512"]),
    ] = 512
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="debug, info, warning or error.", examples=["info"]),
    ] = "info"
    tracing: Annotated[
        bool,
        Field(
            description="Whether spans are exported by OTLP, to `OTEL_EXPORTER_OTLP_ENDPOINT`. The other variables of "
            "OpenTelemetry count too. It needs the extra `otel`.",
            examples=["true"],
        ),
    ] = False
    log_format: Annotated[Literal["json", "console"], Field(description="json or console.", examples=["json"])] = "json"

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _in_any_case(cls, given: object) -> object:
        return given.lower() if isinstance(given, str) else given

    @field_validator("ingress")
    @classmethod
    def _ends(cls, ingress: tuple[Ingress, ...] | None, info: ValidationInfo) -> tuple[Ingress, ...] | None:
        """Refuse a topic that the worker writes to, since forwarding would never end, and a repeated topic."""
        topics = Topics.of(info.data.get("topic_prefix", ""))
        names = [source.topic for source in ingress or ()]
        for name in names:
            if name in topics and name != topics.breakers:
                msg = f"{name} is a topic that sleep itself writes to; name those of emitters"
                raise ValueError(msg)
            if names.count(name) > 1:
                msg = f"{name} is named twice"
                raise ValueError(msg)
        return ingress

    @field_validator("http_formats")
    @classmethod
    def _once(cls, formats: tuple[HttpFormat, ...]) -> tuple[HttpFormat, ...]:
        """Refuse a format that is named twice: one of the two would have no effect."""
        names = [one.format for one in formats]
        for name in names:
            if names.count(name) > 1:
                msg = f"{name} is named twice"
                raise ValueError(msg)
        return formats

    @property
    def topics(self) -> Topics:
        """The names of the topics."""
        return Topics.of(self.topic_prefix)

    @property
    def ingress_topics(self) -> tuple[Ingress, ...]:
        """The ingress topics, by default the breakers topic alone."""
        return (Ingress(topic=self.topics.breakers, tenant="subject"),) if self.ingress is None else self.ingress

    @property
    def ingress_group(self) -> str:
        """The consumer group in which workers read the ingress topics."""
        return f"{self.consumer_group}-ingress"

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
        """Return the TLS context for the brokers, None without TLS.

        Raises:
            CertificateError: if a certificate or key cannot be loaded.
        """
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        certfile, keyfile = self.kafka_ssl_certfile, self.kafka_ssl_keyfile
        for name, path in (("CERTFILE", certfile), ("KEYFILE", keyfile)):
            if path is not None:
                # The library's own error names no file.
                require_readable(f"SLEEP_KAFKA_SSL_{name}", path)
        cafile = self.kafka_ssl_cafile
        context = client_context(None if cafile is None else ("SLEEP_KAFKA_SSL_CAFILE", cafile))
        if certfile is None:
            return context
        password = self.kafka_ssl_password
        variables = tuple(f"SLEEP_KAFKA_SSL_{name}" for name in ("CERTFILE", "KEYFILE", "PASSWORD"))
        load_identity(context, variables, certfile, keyfile, "" if password is None else password.get_secret_value())
        return context

    def limit_of(self, budget: Budget) -> str:
        """Return the rate limit of a budget, in the notation of the `limits` library."""
        limits = self.rate_limits if ANY_ACTION in self.rate_limits else RATE_LIMITS | self.rate_limits
        return limits.get(budget, limits[ANY_ACTION])

    @property
    def redis_is_cluster(self) -> bool:
        """Whether the URL names a Redis Cluster."""
        return self.redis_url.get_secret_value().startswith("redis+cluster://")

    @property
    def redis_address(self) -> str:
        """The URL as redis-py reads it, with any password; never log it."""
        return self.redis_url.get_secret_value().replace("redis+cluster://", "redis://", 1)

    def require(self, *names: str) -> None:
        """Require these settings.

        Raises:
            SettingsError: naming each absent variable.
        """
        absent = [f"SLEEP_{name.upper()}" for name in names if getattr(self, name) is None]
        if absent:
            msg = f"{', '.join(absent)} must be set"
            raise SettingsError(msg)

    def require_keys(self) -> None:
        """Require that the JWKS can be read if it is a file.

        Raises:
            CertificateError: naming the variable.
        """
        if self.jwt_jwks is not None and not is_url(self.jwt_jwks):
            require_readable("SLEEP_JWT_JWKS", self.jwt_jwks)
