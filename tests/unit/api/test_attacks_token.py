"""Attacks on the API by the bearer token. Each test is named for the attack."""

from dataclasses import replace

import pytest
import structlog
from jwt import PyJWK

from api.adapters.dependency import Dependency
from api.security.embedded_policy import EmbeddedPolicy, policy_folder
from api.security.jwks import parse_jwks, pick
from api.security.tokens import TokenError, Verifier
from tests.support.forged_tokens import ATTACKS, BODY, GOOD, HEAD, SIGNATURE, SLEEP
from tests.support.tokens import AUDIENCE, ISSUER, KID, jwks, public_jwk, token
from tests.unit.api.application import ApiOverFakes


class _Keys:
    """The issuer's keys, as they are behind `api`."""

    def __init__(self) -> None:
        self.keys = parse_jwks(jwks())

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        return pick(self.keys, kid, algorithm)


def _verifier() -> Verifier:
    return Verifier(_Keys(), ISSUER, AUDIENCE, "tenant_id")


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
async def test_a_forged_or_senseless_token_gets_401_and_says_nothing(
    api: ApiOverFakes, attack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused with a challenge; nothing is published, and nothing of it is answered or logged."""
    with structlog.testing.capture_logs() as logs:
        response = await api.client.post("/api/util/sleep", json=SLEEP, headers={"Authorization": f"Bearer {attack}"})
    assert (response.status_code, response.json()["code"]) == (401, "invalid_token")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    assert (api.log.published, api.authoriser.questions) == ([], [])
    printed = capsys.readouterr()
    text = f"{response.text}{response.headers}{logs}{printed.out}{printed.err}"
    assert not any(part in text for part in attack.split(".") if len(part) > 12)
    assert "globex" not in text
    assert "evil" not in text


@pytest.mark.parametrize("text", [f"{GOOD}\n", f" {GOOD}", f"{GOOD} ", f"{HEAD}.{BODY}\n.{SIGNATURE}", "é.é.é", ""])
async def test_white_space_in_a_token(text: str) -> None:
    """No token has any."""
    with pytest.raises(TokenError, match="malformed"):
        await _verifier().verify(text)


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c"])
async def test_a_header_that_brings_its_own_key(name: str) -> None:
    """It is not looked at: the attacker's key does not verify, and a good token stays good."""
    header = {"kid": KID, name: public_jwk("ES256-other") if name == "jwk" else "https://evil.example/jwks"}
    with pytest.raises(TokenError, match="signature"):
        await _verifier().verify(token("ES256-other", header=header))
    assert (await _verifier().verify(token(header=header))).tenant == "acme"


async def test_a_foreign_tenant_without_a_scope_for_it(api: ApiOverFakes) -> None:
    """The shipped policy says no, and nothing is published."""
    policy = EmbeddedPolicy(policy_folder(), Dependency("opa"))
    api.app.state.services = replace(api.services, authoriser=policy)
    response = await api.client.post("/api/util/sleep", json=SLEEP, headers={"X-Tenant-Id": "globex"})
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert response.json()["reasons"]
    assert api.log.published == []
