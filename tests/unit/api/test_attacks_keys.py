"""Attacks on the keys that verify tokens, and on their issuer. Each test is named for the attack."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from api.adapters.dependency import Dependency, UnavailableError
from api.security.jwks import KEPT_MS, LARGEST_JWKS, REREAD_SECONDS, JwksKeys, KeysError, fetch_from, parse_jwks
from api.security.tokens import TokenError, Verifier
from tests.support.tokens import AUDIENCE, ISSUER, KID, NO_TEXTS, jwks, private_key, public_jwk, token
from tests.unit.api.fakes import FakeClock, Pauses

URL: Final = "https://issuer.example/jwks"
Answer = Callable[[httpx.Request], httpx.Response]
GOOD: Final = token()


def test_a_private_key_a_secret_or_a_weak_key_in_the_jwks() -> None:
    """None of them verifies anything."""
    weak = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key()))  # noqa: S505
    curve = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key()))
    good = public_jwk("ES256")
    key = private_key("ES256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    unusable: list[dict[str, Any]] = [
        weak | {"kid": "weak"},
        curve | {"kid": "curve", "alg": "ES256"},
        json.loads(ECAlgorithm.to_jwk(key)) | {"kid": "private", "key_ops": ["verify"]},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
        good | {"use": "enc"},
        good | {"use": ["sig"]},
        good | {"key_ops": ["encrypt"]},
        good | {"key_ops": "verify"},
        good | {"alg": "HS256"},
        good | {"alg": "none"},
        good | {"alg": "RS256"},
        good | {"x": 1},
        good | {"y": "AA"},
    ]
    unusable += [good | {name: ["ES256"]} for name in ("kid", "alg", "kty", "crv", "x")]
    unusable += [public_jwk("RS256") | {"n": value} for value in (*NO_TEXTS, "AA")]
    for entry in unusable:
        with pytest.raises(KeysError, match="no signature key"):
            parse_jwks(jwks(entry))
    good = public_jwk("EdDSA", "good") | {"key_ops": ["verify"]}
    assert list(parse_jwks(jwks(*unusable, good))) == [("good", "EdDSA")]


class _Issuer:
    """A JWKS behind HTTP; `answer` is what it sends now."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked = 0
        self.clock = FakeClock()
        self.dependency = Dependency("jwks")
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._handle))
        self.keys = JwksKeys(fetch_from(URL, client), self.clock, self.dependency)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return self.answer(request)


def _sends(content: bytes) -> Answer:
    return lambda _: httpx.Response(200, content=content)


def _refuses(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def _hangs(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow", request=request)


BAD_ANSWERS: Final[dict[str, Answer]] = {
    "down": _refuses,
    "slow": _hangs,
    "rubbish": _sends(b"<html>"),
    "nothing": _sends(b""),
    "no keys": _sends(b'{"keys": []}'),
    "nested deeply": _sends(b"[" * 100_000),
    "huge": _sends(b" " * (LARGEST_JWKS + 1) + jwks()),
    "packed": lambda _: httpx.Response(200, content=b"", headers={"Content-Encoding": "gzip"}),
    "redirect": lambda _: httpx.Response(302, headers={"Location": "https://evil.example/jwks"}),
    "500": lambda _: httpx.Response(500, content=jwks()),
    "404": lambda _: httpx.Response(404, content=jwks()),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_an_issuer_that_misbehaves(answer: Answer) -> None:
    """Before the first keys nobody can tell who calls; later the last keys go on, for a day."""
    issuer = _Issuer(answer)
    with pytest.raises(UnavailableError):
        await issuer.keys.find(KID, "ES256")
    assert issuer.asked == 1, "a redirect is not followed"
    issuer.answer = _sends(jwks())
    issuer.clock.now += 10_000
    assert await issuer.keys.find(KID, "ES256") is not None
    issuer.answer = answer
    issuer.clock.now += KEPT_MS
    with pytest.raises(UnavailableError):
        await issuer.keys.find("unknown", "ES256")
    assert await issuer.keys.find(KID, "ES256") is not None
    issuer.clock.now += 1
    with pytest.raises(UnavailableError):
        await issuer.keys.find(KID, "ES256")


async def test_a_huge_file_of_keys(tmp_path: Any) -> None:  # noqa: ANN401
    """It is read no further than the limit."""
    file = tmp_path / "jwks.json"
    file.write_bytes(b" " * LARGEST_JWKS + jwks())
    async with httpx.AsyncClient() as client:
        with pytest.raises(KeysError, match="more than 1048576 bytes"):
            await fetch_from(str(file), client)()


async def test_a_thousand_unknown_key_ids_at_once() -> None:
    """They cost the issuer one request."""
    issuer = _Issuer(_sends(jwks()))
    assert await issuer.keys.find(KID, "ES256") is not None
    issuer.clock.now += 10_000
    key = await asyncio.gather(*(issuer.keys.find(f"unknown-{number}", "ES256") for number in range(1_000)))
    assert (set(key), issuer.asked) == ({None}, 2)


async def test_unknown_key_ids_while_the_issuer_is_slow() -> None:
    """Who names a known key does not wait behind them."""
    clock, asked, release = FakeClock(), asyncio.Event(), asyncio.Event()
    release.set()

    async def slow() -> bytes:
        asked.set()
        await release.wait()
        return jwks()

    keys = JwksKeys(slow, clock, Dependency("jwks"))
    known = await keys.find(KID, "ES256")
    asked.clear()
    release.clear()
    clock.now += 10_000
    hammering = asyncio.ensure_future(keys.find("unknown", "ES256"))
    await asked.wait()
    finding = keys.find(KID, "ES256")
    with pytest.raises(StopIteration) as ended:
        finding.send(None)
    assert ended.value.value is known
    release.set()
    assert await hammering is None


async def test_a_new_key_works_at_once() -> None:
    """Rotation needs no restart."""
    issuer = _Issuer(_sends(jwks()))
    await issuer.keys.find(KID, "ES256")
    issuer.answer = _sends(jwks(public_jwk("ES256"), public_jwk("ES256-other", "new")))
    issuer.clock.now += 10_000
    verifier = Verifier(issuer.keys, ISSUER, AUDIENCE, "tenant_id")
    assert (await verifier.verify(token("ES256-other", header={"kid": "new"}))).tenant == "acme"


async def test_a_key_that_its_issuer_took_back() -> None:
    """It stops working with the next reading, even for a token that was accepted before."""
    issuer = _Issuer(_sends(jwks()))
    verifier = Verifier(issuer.keys, ISSUER, AUDIENCE, "tenant_id")
    await verifier.verify(GOOD)
    issuer.answer = _sends(jwks(public_jwk("ES256-other", "new")))
    pauses = Pauses(2)
    with pytest.raises(asyncio.CancelledError):
        await issuer.keys.run(pauses)
    assert (pauses.seconds, issuer.asked) == ([REREAD_SECONDS, REREAD_SECONDS], 3)
    with pytest.raises(TokenError, match="names no key"):
        await verifier.verify(GOOD)


async def test_a_password_in_the_issuers_url_is_in_no_finding() -> None:
    """`/status` shows findings to anybody."""
    location = "https://me:s3cret@issuer.example/jwks"
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500))) as client:
        dependency = Dependency("jwks")
        keys = JwksKeys(fetch_from(location, client), FakeClock(), dependency)
        with pytest.raises(UnavailableError):
            await keys.find("a", "ES256")
    assert "500" in dependency.finding
    assert "s3cret" not in dependency.finding


async def test_an_issuer_whose_url_is_none_is_away() -> None:
    """503 and a finding, not a 500."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        keys = JwksKeys(fetch_from("http://[::1", client), FakeClock(), Dependency("jwks"))
        with pytest.raises(UnavailableError):
            await keys.find("a", "ES256")
