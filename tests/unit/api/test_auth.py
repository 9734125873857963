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

from api.security.jwks import parse_jwks, pick
from api.security.tokens import REMEMBERED_TOKENS, Principal, TokenError, Verifier, _Verified, is_tenant
from tests.support.tokens import AUDIENCE, ISSUER, KID, claims, jwks, private_key, public_jwk, token
from tests.unit.api.fakes import FakeClock


class _Keys:
    def __init__(self, *algorithms: str) -> None:
        self.keys = parse_jwks(jwks(*(public_jwk(algorithm) for algorithm in algorithms)))

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        return pick(self.keys, kid, algorithm)


def _verifier(algorithm: str = "ES256") -> Verifier:
    return Verifier(_Keys(algorithm), ISSUER, AUDIENCE, "tenant_id")


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_names_subject_tenant_and_scopes(algorithm: str) -> None:
    """Each accepted algorithm verifies."""
    caller = await _verifier(algorithm).verify(token(algorithm, scope="sleep:read  sleep:write"))
    assert caller == Principal("ops@acme", "acme", ("sleep:read", "sleep:write"), caller.expires_at)


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
    unsigned = f"{_part({'alg': 'none', 'kid': KID})}.{_part(claims())}."
    with pytest.raises(TokenError, match="algorithm is none of"):
        await _verifier().verify(unsigned)


async def test_a_public_key_used_as_a_shared_secret_is_refused() -> None:
    """HS256 with the public key as its secret never passes."""
    secret = private_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{_part({'alg': 'HS256', 'kid': KID})}.{_part(claims())}"
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), sha256)).rstrip(b"=").decode()
    with pytest.raises(TokenError, match="algorithm is none of"):
        await _verifier("RS256").verify(f"{signed}.{signature}")


async def test_a_token_of_another_key_kind_is_refused() -> None:
    """The header's algorithm must be the key's own."""
    with pytest.raises(TokenError, match="names no key"):
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


async def test_a_flood_of_good_tokens_pushes_no_token_out_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 tokens that are sent once: the memory stays bounded, and who calls in between is verified once."""
    verifier, clock = _verifier(), FakeClock(int(time.time() * 1000))
    monkeypatch.setattr(verifier, "_clock", clock)
    signatures: list[str] = []

    async def verified(one: str) -> _Verified:
        signatures.append(one)
        return _Verified(Principal(one, "acme", (), clock.now + 600_000), KID, await verifier._keys.find(KID, "ES256"))  # type: ignore[arg-type] # noqa: SLF001

    monkeypatch.setattr(verifier, "_verify", verified)
    for number in range(5_000):
        await verifier.verify(f"attacker-{number}")
        if number % 500 == 0:
            await verifier.verify("in use")
    assert signatures.count("in use") == 1
    assert len(verifier._verified) == REMEMBERED_TOKENS  # noqa: SLF001 - what is bounded


async def test_a_token_that_has_expired_makes_room_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the one goes that was not used for longest."""
    monkeypatch.setattr("api.security.tokens.REMEMBERED_TOKENS", 3)
    clock = FakeClock(int(time.time() * 1000))
    verifier = Verifier(_Keys("ES256"), ISSUER, AUDIENCE, "tenant_id", clock)
    seconds = clock.now // 1000
    old, short, third, fourth, fifth = (
        token(sub=name, exp=seconds + life)
        for name, life in (("old", 600), ("short", 60), ("third", 600), ("fourth", 600), ("fifth", 600))
    )
    first = {one: await verifier.verify(one) for one in (old, short, third)}
    clock.now += 91_000
    first[fourth] = await verifier.verify(fourth)
    assert [await verifier.verify(one) is first[one] for one in (old, third, fourth)] == [True] * 3
    await verifier.verify(fifth)
    assert await verifier.verify(third) is first[third]
    assert await verifier.verify(old) is not first[old]


def test_a_tenant_id_is_a_short_string_of_few_characters() -> None:
    """The shape is the same as in the log."""
    assert is_tenant("a" * 128)
    assert is_tenant("A.b_c:d@e-9")
    for wrong in ("a" * 129, "", "é", "a b", "a\n", None, 7):
        assert not is_tenant(wrong)
