"""Tokens."""

import base64
import hmac
import json
import time
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK

from api.door.auth import Principal, TokenError, Verifier, is_tenant
from api.door.keys import parse_jwks
from tests.unit.api import fakes
from tests.unit.api.fakes import AUDIENCE, ISSUER, KID, FakeClock, jwks, private_key, public_jwk, token


class _Keys:
    def __init__(self, *algorithms: str) -> None:
        self.keys = parse_jwks(jwks(*(public_jwk(algorithm) for algorithm in algorithms)))

    async def find(self, kid: str | None) -> PyJWK | None:
        return self.keys.get(kid)


def _verifier(algorithm: str = "ES256") -> Verifier:
    return Verifier(_Keys(algorithm), ISSUER, AUDIENCE, "tenant_id")


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_names_subject_tenant_and_scopes(algorithm: str) -> None:
    """Each accepted algorithm verifies."""
    found = await _verifier(algorithm).verify(token(algorithm, scope="sleep:read  sleep:write"))
    assert found == Principal("ops@acme", "acme", ("sleep:read", "sleep:write"), found.expires_at)


async def test_the_tenant_claim_is_a_setting() -> None:
    """Another claim may hold the tenant."""
    verifier = Verifier(_Keys("ES256"), ISSUER, AUDIENCE, "org")
    assert (await verifier.verify(token(org="globex"))).tenant == "globex"


async def test_the_end_of_a_token_is_known_to_the_millisecond() -> None:
    """It is rounded down, and has no leeway."""
    seconds = int(time.time()) + 600
    assert (await _verifier().verify(token(exp=seconds))).expires_at == seconds * 1000
    assert (await _verifier().verify(token(exp=seconds + 0.1259765625))).expires_at == seconds * 1000 + 125


async def test_a_token_may_name_several_audiences() -> None:
    """One of them must be ours."""
    assert (await _verifier().verify(token(aud=["other", AUDIENCE]))).tenant == "acme"


async def test_an_unsigned_token_is_refused() -> None:
    """`alg: none` never passes."""
    unsigned = f"{_part({'alg': 'none', 'kid': KID})}.{_part(fakes.claims())}."
    with pytest.raises(TokenError, match="algorithm is none of"):
        await _verifier().verify(unsigned)


async def test_a_public_key_used_as_a_shared_secret_is_refused() -> None:
    """HS256 with the public key as its secret never passes."""
    secret = private_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_part({'alg': 'HS256', 'kid': KID})}.{_part(fakes.claims())}"
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), sha256)).rstrip(b"=").decode()
    with pytest.raises(TokenError, match="algorithm is none of"):
        await _verifier("RS256").verify(f"{signed}.{signature}")


async def test_a_token_of_another_key_kind_is_refused() -> None:
    """The header's algorithm must be the key's own."""
    with pytest.raises(TokenError, match="not its key's"):
        await _verifier("RS256").verify(token("ES256"))


async def test_a_token_signed_by_somebody_else_is_refused() -> None:
    """The right key id with a wrong signature does not help."""
    with pytest.raises(TokenError, match="signature"):
        await _verifier().verify(token("ES256-other"))


async def test_a_token_with_an_unknown_key_id_is_refused() -> None:
    """An unknown key id is no key."""
    with pytest.raises(TokenError, match="names no key"):
        await _verifier().verify(token(header={"kid": "other"}))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"iss": "https://other.example"}, "issuer"),
        ({"iss": None}, "iss is missing"),
        ({"aud": "other"}, "audience"),
        ({"aud": None}, "aud is missing"),
        ({"exp": None}, "exp is missing"),
        ({"exp": 1_700_000_000}, "expired"),
        ({"nbf": 4_000_000_000}, "not valid yet"),
        ({"sub": None}, "sub is missing"),
        ({"sub": "a" * 257}, "sub is not"),
        ({"sub": "a\nb"}, "sub is not"),
        ({"scope": ["sleep:read"]}, "scope is not"),
        ({"tenant_id": None}, "tenant_id is missing"),
        ({"tenant_id": ["acme"]}, "not a tenant id"),
        ({"tenant_id": "a/b"}, "not a tenant id"),
        ({"tenant_id": "a{b}"}, "not a tenant id"),
        ({"tenant_id": "acme\n"}, "not a tenant id"),
        ({"tenant_id": ""}, "not a tenant id"),
        ({"tenant_id": 7, "scope": "sleep:operate"}, "not a tenant id"),
    ],
)
async def test_wrong_claims_are_refused(changes: dict[str, Any], text: str) -> None:
    """Each wrong claim is named."""
    with pytest.raises(TokenError, match=text):
        await _verifier().verify(token(**changes))


async def test_clocks_may_differ_by_half_a_minute() -> None:
    """A token that expired just now still passes, and none that is older."""
    now = int(time.time())
    assert await _verifier().verify(token(exp=now - 20))
    with pytest.raises(TokenError, match="expired"):
        await _verifier().verify(token(exp=now - 40))


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "a.b", "é.é.é"])
async def test_what_is_no_token_is_refused(text: str) -> None:
    """Garbage is malformed."""
    with pytest.raises(TokenError, match="malformed"):
        await _verifier().verify(text)


@pytest.mark.parametrize("scope", ["sleep:read-any", "sleep:emit-any", "sleep:operate"])
async def test_a_token_with_an_any_tenant_scope_may_name_no_tenant(scope: str) -> None:
    """Operators have no tenant of their own."""
    assert (await _verifier().verify(token(tenant_id=None, scope=scope))).tenant is None


async def test_a_remembered_token_expires_all_the_same() -> None:
    """Remembering saves the signature, not the expiry."""
    clock = FakeClock(round(time.time() * 1000))
    verifier = Verifier(_Keys("ES256"), ISSUER, AUDIENCE, "tenant_id", clock)
    expires = int(time.time()) - 25
    good = token(exp=expires)
    await verifier.verify(good)
    clock.now = (expires + 30) * 1000
    verified = await verifier.verify(good)  # PyJWT reads the real clock, on which it is still good.
    assert verified.tenant == "acme"
    assert (await verifier.verify(good)) is not verified, "it was verified anew, not remembered"


async def test_a_remembered_token_is_verified_anew_when_the_keys_are_read_again() -> None:
    """A key that its issuer took back signs nothing any more."""
    keys = _Keys("ES256")
    verifier = Verifier(keys, ISSUER, AUDIENCE, "tenant_id")
    good = token()
    assert await verifier.verify(good) is await verifier.verify(good)
    keys.keys = parse_jwks(jwks(public_jwk("ES256-other")))
    with pytest.raises(TokenError, match="signature"):
        await verifier.verify(good)


async def test_the_memory_for_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit it starts afresh."""
    monkeypatch.setattr("api.door.auth.REMEMBERED_TOKENS", 1)
    verifier = _verifier()
    first = token(sub="first")
    remembered = await verifier.verify(first)
    await verifier.verify(token(sub="second"))
    assert await verifier.verify(first) is not remembered


def test_a_tenant_id_is_a_short_string_of_few_characters() -> None:
    """The shape is the same as in the log."""
    assert is_tenant("a" * 128)
    assert is_tenant("A.b_c:d@e-9")
    for wrong in ("a" * 129, "", "é", "a b", "a\n", None, 7):
        assert not is_tenant(wrong)
