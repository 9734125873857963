"""An identity for Kafka or Redis that is set by half, or that nothing would send, is refused at the start."""

from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.settings import REQUIRED, loaded, refusal

SASL = {"KAFKA_SASL_USERNAME": "sleep", "KAFKA_SASL_PASSWORD": "hunter2"}


def certificate(folder: Path) -> tuple[str, str]:
    """Return a certificate and its key."""
    Authority(folder).issue("client", "sleep-worker")
    return str(folder / "client.crt"), str(folder / "client.key")


@pytest.mark.parametrize(
    ("protocol", "name", "wanted"),
    [
        ("PLAINTEXT", "KAFKA_SASL_USERNAME", "SASL_SSL"),
        ("SSL", "KAFKA_SASL_PASSWORD", "SASL_SSL"),
        ("PLAINTEXT", "KAFKA_SSL_CERTFILE", "SSL or SASL_SSL"),
        ("SASL_PLAINTEXT", "KAFKA_SSL_CERTFILE", "SSL or SASL_SSL"),
    ],
)
def test_an_identity_that_the_protocol_does_not_send_is_refused(protocol: str, name: str, wanted: str) -> None:
    """Else the connection would be without it, perhaps in the clear."""
    sasl = SASL if protocol.startswith("SASL") else {}
    message = refusal(**REQUIRED, KAFKA_SECURITY_PROTOCOL=protocol, **sasl | {name: "hunter2"})
    reason = f"SLEEP_KAFKA_SECURITY_PROTOCOL={protocol} does not use it; set {wanted}, or remove the value"
    assert message == f"SLEEP_{name}: {reason}"


@pytest.mark.parametrize("name", ["KAFKA_SSL_KEYFILE", "KAFKA_SSL_PASSWORD"])
def test_a_part_of_a_certificate_is_refused(name: str) -> None:
    """The client would connect without a certificate."""
    message = refusal(**REQUIRED, KAFKA_SECURITY_PROTOCOL="SSL", **{name: __file__})
    assert f"SLEEP_KAFKA_SSL_CERTFILE: missing, SLEEP_{name} needs it" in message


@pytest.mark.parametrize(("given", "missing"), [("ssl_certfile", "ssl_keyfile"), ("ssl_keyfile", "ssl_certfile")])
def test_a_part_of_a_certificate_for_redis_is_refused(tmp_path: Path, given: str, missing: str) -> None:
    """redis-py would connect without a certificate."""
    certfile, keyfile = certificate(tmp_path)
    file = certfile if given == "ssl_certfile" else keyfile
    message = refusal(**REQUIRED | {"REDIS_URL": f"rediss://r?{given}={file}"})
    assert message == f"SLEEP_REDIS_URL: its option {given} needs {missing}; both may name the same file"


def test_a_certificate_for_redis_and_a_key_that_differ_are_refused(tmp_path: Path) -> None:
    """As for Kafka; a pair is accepted."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    certfile, keyfile = certificate(tmp_path / "ours")
    _, foreign = certificate(tmp_path / "theirs")
    url = f"rediss://r?ssl_cert_reqs=none&ssl_certfile={certfile}&ssl_keyfile="
    loaded(**REQUIRED | {"REDIS_URL": url + keyfile})
    message = refusal(**REQUIRED | {"REDIS_URL": url + foreign})
    assert message.startswith("SLEEP_REDIS_URL: certificate and key (PEM) do not fit each other")
