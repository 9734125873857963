"""Contradictions between settings, and files that cannot be read."""

from collections.abc import Iterator

from schemas.redis.tls import check_redis_tls
from schemas.settings import Settings
from schemas.tls import CertificateError

Problem = tuple[tuple[str, ...], str]
"""The variables, and the reason."""


def problems_of(settings: Settings) -> Iterator[Problem]:
    """Yield the variables and the reason of each contradiction between settings, and of each unreadable file."""
    if settings.kafka_security_protocol.startswith("SASL"):
        for name in ("kafka_sasl_username", "kafka_sasl_password"):
            if getattr(settings, name) is None:
                yield (f"SLEEP_{name.upper()}",), "missing, SASL needs it"
    yield from _unused_identity(settings)
    for name in ("kafka_ssl_keyfile", "kafka_ssl_password"):
        if getattr(settings, name) is not None and settings.kafka_ssl_certfile is None:
            yield ("SLEEP_KAFKA_SSL_CERTFILE",), f"missing, SLEEP_{name.upper()} needs it"
            break
    if (settings.console_oidc_issuer is None) != (settings.console_oidc_client_id is None):
        yield ("SLEEP_CONSOLE_OIDC_ISSUER", "SLEEP_CONSOLE_OIDC_CLIENT_ID"), "one is missing, the other needs it"
    for check in (settings.kafka_ssl_context, lambda: check_redis_tls(settings.redis_address)):
        try:
            check()
        except CertificateError as error:
            yield error.variables, error.reason


def _unused_identity(settings: Settings) -> Iterator[Problem]:
    """Yield each part of an identity that the protocol does not send: the connection would be without it."""
    protocol = settings.kafka_security_protocol
    for prefix, names, wanted in (
        ("SASL", ("kafka_sasl_username", "kafka_sasl_password"), "SASL_SSL"),
        ("SSL", ("kafka_ssl_certfile",), "SSL or SASL_SSL"),
    ):
        if prefix not in protocol:
            yield from (
                (
                    (f"SLEEP_{name.upper()}",),
                    f"SLEEP_KAFKA_SECURITY_PROTOCOL={protocol} does not use it; set {wanted}, or remove the value",
                )
                for name in names
                if getattr(settings, name) is not None
            )
