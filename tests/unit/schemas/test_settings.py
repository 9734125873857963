"""Settings: read once, refused early, and never shown where they are secret."""

import json
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from limits import parse_many
from pydantic import SecretStr, ValidationError

from schemas.environment import SettingsError
from schemas.settings import Settings
from tests.support.settings import REQUIRED, loaded, refusal

SASL = {"KAFKA_SASL_USERNAME": "sleep", "KAFKA_SASL_PASSWORD": "hunter2"}
PAYMENTS = '(example: [{"topic": "payments"}])'
FORMATS = "cloudevents, resilience4j, opossum, gobreaker, envoy, hystrix, alertmanager"


def test_two_variables_are_enough() -> None:
    """Everything else has a default."""
    settings = loaded(**REQUIRED)
    assert (settings.partitions, settings.opa_url, settings.api_host) == (8, "embedded", "127.0.0.1")
    assert settings.topics.events == "sleep.events"


def test_a_log_level_may_be_in_capitals() -> None:
    """As most loggers spell it."""
    assert loaded(**REQUIRED, LOG_LEVEL="WARNING").log_level == "warning"


def test_what_is_missing_is_named() -> None:
    """All of it at once."""
    message = refusal()
    assert "SLEEP_KAFKA_BOOTSTRAP" in message
    assert "SLEEP_REDIS_URL" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARTITIONS", "hunter2"),
        ("PARTITIONS", "0"),
        ("REPLICATION", "10"),
        ("KAFKA_SECURITY_PROTOCOL", "hunter2"),
        ("KAFKA_SASL_MECHANISM", "hunter2"),
        ("KAFKA_BOOTSTRAP", ""),
        ("REDIS_PREFIX", "hunter2 {x}"),
        ("OPA_URL", "ftp://hunter2"),
        ("DEADLETTER_MAX_RATIO", "1.5"),
        ("INGRESS", "hunter2"),
        ("INGRESS", '[{"topic": ""}]'),
        ("INGRESS", '[{"topic": "x", "secret": "hunter2"}]'),
        ("API_PORT", "70000"),
        ("LOG_LEVEL", "hunter2"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_never_shown(name: str, value: str) -> None:
    """It might be a secret in the wrong place."""
    message = refusal(**REQUIRED | {name: value})
    assert f"SLEEP_{name}" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("TOPIC_PREFIX", "a b", "must be 1 to 64 of A-Z a-z 0-9 . _ - (example: sleep)"),
        ("OPA_URL", "opa:8181", "must be `embedded`, or a URL with http:// or https:// (example: http://opa:8181)"),
        ("INGRESS", "payments", f"must be a JSON list of topics {PAYMENTS}"),
        ("INGRESS", '{"topic": "a"}', f"must be a JSON list of topics {PAYMENTS}"),
        (
            "INGRESS",
            '[{"topic": "a"}, {"topic": "b", "format": "x"}]',
            f"at [1].format: must be one of {FORMATS} {PAYMENTS}",
        ),
        ("RATE_LIMITS", "600/minute", 'must be a JSON object of limits (example: {"sleep": "600/minute"})'),
    ],
)
def test_a_wrong_variable_is_refused_in_words(name: str, value: str, wanted: str) -> None:
    """What is wanted, and neither Python nor a regular expression."""
    assert refusal(**REQUIRED | {name: value}) == f"SLEEP_{name}: {wanted}"


@pytest.mark.parametrize("url", ["hunter2", "http://redis:6379", "redis.example:6379", ""])
def test_a_redis_url_of_another_kind_is_refused_at_the_start(url: str) -> None:
    """`redis://`, `rediss://` and `redis+cluster://` are known."""
    message = refusal(**REQUIRED | {"REDIS_URL": url})
    assert "SLEEP_REDIS_URL" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("given", ["ISSUER", "CLIENT_ID"])
def test_a_sign_in_to_the_console_needs_both_settings(given: str) -> None:
    """An issuer on this machine needs no TLS."""
    both = {"CONSOLE_OIDC_ISSUER": "http://127.0.0.1:5", "CONSOLE_OIDC_CLIENT_ID": "console"}
    assert loaded(**REQUIRED, **both).console_oidc_issuer == "http://127.0.0.1:5"
    name = f"CONSOLE_OIDC_{given}"
    message = refusal(**REQUIRED, **{name: both[name]})
    assert message == "SLEEP_CONSOLE_OIDC_ISSUER, SLEEP_CONSOLE_OIDC_CLIENT_ID: one is missing, the other needs it"


def test_a_secret_is_masked_when_printed() -> None:
    """The URL too, since it may hold a password."""
    settings = Settings(
        kafka_bootstrap="kafka:9092",
        redis_url=SecretStr("redis://:hunter2@redis"),
        kafka_sasl_password=SecretStr("hunter2"),
        kafka_ssl_password=SecretStr("hunter2"),
    )
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_settings_cannot_be_changed() -> None:
    """One frozen object, built in the entry point."""
    settings = loaded(**REQUIRED)
    with pytest.raises(ValidationError):
        settings.partitions = 9  # type: ignore[misc] # the point of the test


def test_a_required_setting_that_is_absent_is_named() -> None:
    """The API asks for its own before it starts."""
    settings = loaded(**REQUIRED, JWT_ISSUER="https://issuer")
    settings.require("jwt_issuer")
    with pytest.raises(SettingsError, match=r"^SLEEP_JWT_JWKS, SLEEP_JWT_AUDIENCE must be set$"):
        settings.require("jwt_jwks", "jwt_issuer", "jwt_audience")


def test_without_an_ingress_the_breakers_topic_is_read() -> None:
    """As CloudEvents with the tenant as their subject."""
    (ingress,) = loaded(**REQUIRED, TOPIC_PREFIX="eu").ingress_topics
    assert (ingress.topic, ingress.format, ingress.tenant) == ("eu.breakers", "cloudevents", "subject")


def test_an_ingress_names_topics_in_json() -> None:
    """An empty list reads none."""
    assert [one.topic for one in loaded(**REQUIRED, INGRESS='[{"topic": "a"}, {"topic": "b"}]').ingress_topics] == [
        "a",
        "b",
    ]
    assert loaded(**REQUIRED, INGRESS="[]").ingress_topics == ()


@pytest.mark.parametrize("name", ["events", "states", "transitions", "deadletter"])
def test_an_ingress_never_reads_a_topic_that_we_write_to(name: str) -> None:
    """Each event that it reads would be forwarded onto that topic again, without end."""
    given = json.dumps([{"topic": "payments"}, {"topic": f"eu.{name}"}])
    assert refusal(**REQUIRED, TOPIC_PREFIX="eu", INGRESS=given).startswith(
        f"SLEEP_INGRESS: eu.{name} is a topic that "
    )


def test_an_ingress_may_name_the_breakers_topic_and_another_installation_s() -> None:
    """What is named replaces the default."""
    given = '[{"topic": "eu.breakers"}, {"topic": "us.events"}]'
    assert [one.topic for one in loaded(**REQUIRED, TOPIC_PREFIX="eu", INGRESS=given).ingress_topics] == [
        "eu.breakers",
        "us.events",
    ]


def test_an_ingress_names_a_topic_once() -> None:
    """Each record of it would be forwarded twice."""
    assert refusal(**REQUIRED, INGRESS='[{"topic": "a"}, {"topic": "b"}, {"topic": "a"}]') == (
        f"SLEEP_INGRESS: a is named twice {PAYMENTS}"
    )


@pytest.mark.parametrize(
    ("url", "cluster", "address"),
    [
        ("redis://r:6379/0", 0, "redis://r:6379/0"),
        ("rediss://r:6379", 0, "rediss://r:6379"),
        ("redis+cluster://r:6379", 1, "redis://r:6379"),
    ],
)
def test_a_redis_url_says_whether_it_is_a_cluster(url: str, cluster: int, address: str) -> None:
    """redis-py reads the plain scheme."""
    settings = loaded(**REQUIRED | {"REDIS_URL": url})
    assert settings.redis_is_cluster == bool(cluster)
    assert settings.redis_address == address


def test_a_plain_client_needs_nothing_but_the_brokers() -> None:
    """No context, no user."""
    assert loaded(**REQUIRED).kafka_client() == {
        "bootstrap_servers": "kafka:9092",
        "security_protocol": "PLAINTEXT",
    }


def test_a_client_over_tls_checks_the_broker_s_name() -> None:
    """Against the system's certificates where no file is given."""
    context = loaded(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SSL").kafka_client()["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_client_with_a_user_sends_the_password() -> None:
    """The one place where it is read."""
    client = loaded(
        **REQUIRED,
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_MECHANISM="PLAIN",
        KAFKA_SASL_USERNAME="sleep",
        KAFKA_SASL_PASSWORD="hunter2",
    ).kafka_client()
    assert isinstance(client.pop("ssl_context"), ssl.SSLContext)
    assert client == {
        "bootstrap_servers": "kafka:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "sleep",
        "sasl_plain_password": "hunter2",
    }


@pytest.mark.parametrize("given", [{}, {"KAFKA_SASL_USERNAME": "sleep"}, {"KAFKA_SASL_PASSWORD": "hunter2"}])
def test_sasl_without_user_or_password_is_refused_at_the_start(given: dict[str, str]) -> None:
    """By name, and not by a broker's closed connection."""
    assert "SLEEP_KAFKA_SASL_" in refusal(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT", **given)


def certificate(folder: Path, password: bytes | None) -> tuple[str, str]:
    """Write a certificate and its key, and return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "worker")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certfile, keyfile = folder / "worker.pem", folder / "worker.key"
    certfile.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    keyfile.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    return str(certfile), str(keyfile)


@pytest.mark.parametrize("password", [None, "hunter2"])
def test_a_client_s_own_certificate_is_loaded(tmp_path: Path, password: str | None) -> None:
    """With the password of its key where it has one."""
    certfile, keyfile = certificate(tmp_path, password.encode() if password else None)
    files = {"KAFKA_SSL_CERTFILE": certfile, "KAFKA_SSL_KEYFILE": keyfile, "KAFKA_SSL_CAFILE": certfile}
    if password is not None:
        files["KAFKA_SSL_PASSWORD"] = password
    context = loaded(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SSL", **files).kafka_client()["ssl_context"]
    assert context.cert_store_stats()["x509"] == 1


@pytest.mark.parametrize("name", ["CAFILE", "CERTFILE", "KEYFILE"])
def test_a_certificate_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    """At the start, and not as a broker that is away."""
    certfile, keyfile = certificate(tmp_path, None)
    files = {"KAFKA_SSL_CERTFILE": certfile, "KAFKA_SSL_KEYFILE": keyfile, f"KAFKA_SSL_{name}": "/nowhere/x.pem"}
    assert refusal(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SSL", **files) == (
        f"SLEEP_KAFKA_SSL_{name}: the file cannot be read: No such file or directory"
    )


def test_authorities_that_are_no_certificates_are_refused_by_name(tmp_path: Path) -> None:
    """A key in the wrong place, say."""
    _, keyfile = certificate(tmp_path, None)
    message = refusal(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SSL_CAFILE=keyfile, **SASL)
    assert message == "SLEEP_KAFKA_SSL_CAFILE: the file holds no certificates (PEM)"


@pytest.mark.parametrize("password", [None, "", "hunter2", "hunter2" * 200])
def test_a_key_that_its_password_does_not_open_is_refused_by_name(tmp_path: Path, password: str | None) -> None:
    """Nobody is asked for it at the terminal, and it is not shown."""
    certfile, keyfile = certificate(tmp_path, b"another")
    given = {} if password is None else {"KAFKA_SSL_PASSWORD": password}
    message = refusal(
        **REQUIRED, KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_SSL_CERTFILE=certfile, KAFKA_SSL_KEYFILE=keyfile, **given
    )
    assert message.startswith("SLEEP_KAFKA_SSL_CERTFILE, SLEEP_KAFKA_SSL_KEYFILE, SLEEP_KAFKA_SSL_PASSWORD: ")
    assert "hunter2" not in message


def test_a_key_of_another_certificate_is_refused_by_name(tmp_path: Path) -> None:
    """The two are a pair."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    files = {"KAFKA_SSL_CERTFILE": certificate(ours, None)[0], "KAFKA_SSL_KEYFILE": certificate(theirs, None)[1]}
    assert "SLEEP_KAFKA_SSL_KEYFILE" in refusal(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SSL", **files)


def test_a_process_that_loses_its_certificate_waits_as_for_the_broker(tmp_path: Path) -> None:
    """The files may change meanwhile. A caller that waits for Kafka catches OSError."""
    certfile, _ = certificate(tmp_path, None)
    settings = loaded(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_SSL_CAFILE=certfile)
    Path(certfile).unlink()
    with pytest.raises(OSError, match=r"^SLEEP_KAFKA_SSL_CAFILE: the file cannot be read"):
        settings.kafka_client()


def test_certificates_are_not_looked_at_where_tls_is_not_spoken() -> None:
    """As the client does."""
    assert loaded(**REQUIRED, KAFKA_SSL_CAFILE="/nowhere/ca.pem").kafka_ssl_context() is None


@pytest.mark.parametrize("url", ["redis://:s3cr/et@127.0.0.1:6379/0", "redis://:s3cr#et@redis:6379", "redis:///0"])
def test_a_redis_url_with_an_unencoded_password_is_refused_without_showing_it(url: str) -> None:
    """The parser takes a piece of the password for the port, and would say so."""
    with pytest.raises(SettingsError, match="SLEEP_REDIS_URL") as refused:
        loaded(KAFKA_BOOTSTRAP="kafka:9092", REDIS_URL=url)
    assert "s3cr" not in str(refused.value)


@pytest.mark.parametrize("name", ["OPA_URL", "JWT_JWKS"])
@pytest.mark.parametrize("url", ["https://me:s3cr/et@example/x", "http://s3cr:99999", "http://[s3cr", "https:///s3cr"])
def test_a_url_that_no_request_can_be_made_of_is_refused_at_the_start(name: str, url: str) -> None:
    """Else each request would fail by it, and the error show a piece of the password."""
    message = refusal(**REQUIRED | {name: url})
    assert f"SLEEP_{name}" in message
    assert "s3cr" not in message


@pytest.mark.parametrize("place", ["jwks.json", "https://me:s3cr%2Fet@issuer.example:8443/jwks"])
def test_keys_may_lie_in_a_file_or_behind_a_password(place: str) -> None:
    """Percent-encoded."""
    assert loaded(**REQUIRED, JWT_JWKS=place).jwt_jwks == place


def test_rate_limits_have_defaults() -> None:
    """Reads and breaker events come often, all else is people."""
    settings = loaded(**REQUIRED)
    assert [settings.limit_of(action) for action in ("read", "emit", "sleep", "list")] == [
        "6000/minute",
        "60000/minute",
        "600/minute",
        "600/minute",
    ]


@pytest.mark.parametrize(
    "notation",
    ["5/minute", "5 per minute", "5/2 minutes", "5 per 2 HOURS", "1/second; 9/day", "1/second,9/day", " 7/month "],
)
def test_a_rate_limit_may_be_whatever_the_library_reads(notation: str) -> None:
    """Blanks, plurals, multiples, and several of them."""
    accepted = loaded(**REQUIRED, RATE_LIMITS=json.dumps({"sleep": notation})).limit_of("sleep")
    assert accepted == notation
    assert parse_many(accepted)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ('{"raed": "5/minute"}', "SLEEP_RATE_LIMITS: at raed"),
        ('{"read": "hunter2"}', "SLEEP_RATE_LIMITS: at read"),
        ('{"read": "0/minute"}', "SLEEP_RATE_LIMITS: at read"),
        ('{"read": "5/0 minutes"}', "SLEEP_RATE_LIMITS: at read"),
        ('{"read": "5/fortnight"}', "SLEEP_RATE_LIMITS: at read"),
        ('{"read": "5/minute;"}', "SLEEP_RATE_LIMITS: at read"),
        ('{"read": "50000000/minute"}', "SLEEP_RATE_LIMITS: at read"),
        ('{"*": 5}', r"SLEEP_RATE_LIMITS: at \*"),
        ("{}", "SLEEP_RATE_LIMITS"),
        ('["5/minute"]', "SLEEP_RATE_LIMITS"),
        ("5/minute", "SLEEP_RATE_LIMITS"),
    ],
)
def test_wrong_rate_limits_are_refused_by_name(value: str, named: str) -> None:
    """The action too, where one is at fault."""
    message = refusal(**REQUIRED, RATE_LIMITS=value)
    assert re.match(rf"{named}: ", message), message
    assert "hunter2" not in message
