"""The API's HTTP clients and the environment."""

import httpx
import pytest

from api.security.jwks_client import http_client
from schemas.tls import CertificateError
from tests.support.environments import HTTP

AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.mark.parametrize("environment", HTTP, ids=str)
async def test_a_client_takes_nothing_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """But authorities, where the server speaks TLS; wrong ones are named."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for location in ("http://opa:8181", "embedded", "/etc/jwks.json"):
        await http_client(location).aclose()
    if set(environment) & set(AUTHORITIES):
        with pytest.raises(CertificateError, match=rf"^{'|'.join(environment)}: "):
            http_client("https://issuer.example/jwks.json")
    else:
        client = http_client("https://issuer.example/jwks.json")
        # httpx keeps no public list of its proxies.
        assert client._mounts == {}  # noqa: SLF001 - as said
        await client.aclose()


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "https://me:hunter2@proxy:3129"])
async def test_a_proxy_is_taken_from_the_settings(proxy: str) -> None:
    """SLEEP_JWT_JWKS_PROXY; a client through it differs from one without in its mounts."""
    client = http_client("https://issuer.example/jwks.json", proxy=proxy)
    assert list(client._mounts) != []  # noqa: SLF001 - httpx has no public list of its proxies
    await client.aclose()


async def test_a_server_without_tls_is_trusted_with_no_authorities() -> None:
    """A request that ended up at https all the same would find nobody to trust."""
    async with http_client("http://opa:8181") as client:
        assert isinstance(client, httpx.AsyncClient)
        assert client.trust_env is False
