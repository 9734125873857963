"""The issuer's keys."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import structlog
from jwt.algorithms import ECAlgorithm

from api.adapters.dependency import Dependency, UnavailableError
from api.security.jwks import JwksKeys, KeysError, fetch_from, parse_jwks
from api.security.tokens import Verifier
from tests.support.tokens import AUDIENCE, ISSUER, KID, jwks, private_key, public_jwk, token
from tests.unit.api.fakes import FakeClock


class _Issuer:
    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self) -> bytes:
        self.asked += 1
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


ONE, TWO = jwks(public_jwk("ES256", "one")), jwks(public_jwk("ES256", "one"), public_jwk("EdDSA", "two"))


async def _loaded(issuer: _Issuer, clock: FakeClock) -> tuple[JwksKeys, "asyncio.Task[None]", Dependency]:
    dependency = Dependency("jwks")
    keys = JwksKeys(issuer, clock, dependency)
    running = asyncio.ensure_future(keys.run())
    await asyncio.wait([running, asyncio.ensure_future(dependency.tried.wait())], return_when="FIRST_COMPLETED")
    return keys, running, dependency


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_known_keys_are_not_read_again() -> None:
    """One reading serves all tokens."""
    issuer = _Issuer(ONE)
    keys, running, dependency = await _loaded(issuer, FakeClock())
    assert (key := await keys.find("one", "ES256")) is not None
    assert await keys.find("one", "ES256") is key
    assert (issuer.asked, dependency.up, dependency.finding) == (1, True, "1 keys")
    await _end(running)


async def test_an_unknown_key_id_reads_the_keys_again_but_rarely() -> None:
    """At most once in ten seconds, however many tokens ask."""
    issuer, clock = _Issuer(ONE, TWO), FakeClock()
    keys, running, _ = await _loaded(issuer, clock)
    assert await keys.find("two", "ES256") is None
    assert issuer.asked == 1
    clock.now += 9_999
    assert await keys.find("two", "ES256") is None
    clock.now += 1
    assert await asyncio.gather(keys.find("two", "EdDSA"), keys.find("two", "EdDSA"), keys.find("three", "EdDSA"))
    assert issuer.asked == 2
    await _end(running)


async def test_a_token_without_a_key_id_means_the_only_key_for_its_algorithm() -> None:
    """With several it means none."""
    keys, running, _ = await _loaded(_Issuer(ONE), FakeClock())
    assert await keys.find(None, "ES256") is await keys.find("one", "ES256")
    await _end(running)
    keys, running, _ = await _loaded(_Issuer(TWO), FakeClock())
    assert await keys.find(None, "EdDSA") is await keys.find("two", "EdDSA")
    await _end(running)
    both = jwks(public_jwk("ES256", "one"), public_jwk("ES256-other", "two"))
    keys, running, _ = await _loaded(_Issuer(both), FakeClock())
    assert await keys.find(None, "ES256") is None
    await _end(running)


async def test_while_the_keys_cannot_be_read_nobody_can_tell() -> None:
    """That is an outage, not a wrong token."""
    clock = FakeClock()
    keys, running, dependency = await _loaded(_Issuer(ONE, httpx.ConnectError("refused")), clock)
    clock.now += 10_000
    with pytest.raises(UnavailableError, match="refused"):
        await keys.find("two", "ES256")
    assert await keys.find("one", "ES256") is not None
    assert not dependency.up
    with pytest.raises(KeysError, match="refused"):
        await running


async def test_keys_that_were_never_read_are_an_outage() -> None:
    """Before the first reading nothing verifies."""
    keys = JwksKeys(_Issuer(OSError("no such file")), FakeClock(), Dependency("jwks"))
    with pytest.raises(OSError, match="no such file"):
        await keys.run()
    with pytest.raises(UnavailableError, match="not yet tried"):
        await keys.find("one", "ES256")


def test_keys_that_verify_nothing_of_ours_are_left_out() -> None:
    """Secrets, encryption keys, other curves and broken entries are no keys."""
    usable = public_jwk("RS256", "good")
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    encryption = public_jwk("ES256", "enc") | {"use": "enc"}
    other = public_jwk("RS256", "rs512") | {"alg": "RS512"}
    broken = {"kty": "RSA", "kid": "broken"}
    document = json.dumps({"keys": [secret, encryption, other, broken, "text", usable]}).encode()
    assert [kid for kid, _ in parse_jwks(document)] == ["good"]


# What .NET's JsonWebKey writes of a public key: every member that it knows.
NET: Final[dict[str, Any]] = {
    **dict.fromkeys(("alg", "crv", "d", "dp", "dq", "k", "p", "q", "qi", "use", "x5t", "x5t#S256", "x5u")),
    "key_ops": [],
    "oth": None,
    "x5c": [],
}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("absent", [None, "", []])
async def test_a_member_that_is_null_or_empty_is_absent(algorithm: str, absent: object) -> None:
    """The key verifies a token, whether or not it has an id."""
    empty = dict.fromkeys(NET, absent) | {"kid": absent}
    key = public_jwk(algorithm)
    document = jwks(empty | key, empty | {name: value for name, value in key.items() if name not in {"kid", "use"}})
    assert list(parse_jwks(document)) == [(KID, algorithm), (None, algorithm)]
    keys, running, _ = await _loaded(_Issuer(document), FakeClock())
    verifier = Verifier(keys, ISSUER, AUDIENCE, "tenant_id")
    assert (await verifier.verify(token(algorithm))).tenant == "acme"
    await _end(running)


def test_a_byte_order_mark_in_front_is_skipped() -> None:
    """As a file has it that an editor of Windows saved."""
    assert list(parse_jwks(b"\xef\xbb\xbf" + ONE)) == [("one", "ES256")]


async def test_keys_of_one_id_are_told_apart_by_their_algorithms() -> None:
    """An issuer that numbers its keys may give one number to an RSA key and to a curve's."""
    document = jwks(*(public_jwk(algorithm) for algorithm in ("RS256", "ES256", "EdDSA")))
    keys, running, _ = await _loaded(_Issuer(document), FakeClock())
    verifier = Verifier(keys, ISSUER, AUDIENCE, "tenant_id")
    for algorithm in ("RS256", "ES256", "EdDSA"):
        assert (await verifier.verify(token(algorithm))).tenant == "acme"
    await _end(running)


@pytest.mark.parametrize("kid", ["one", None])
def test_of_two_keys_that_no_token_can_tell_apart_the_one_left_out_is_told(kid: str | None) -> None:
    """The last one counts."""
    warnings: list[tuple[str | None, str]] = []
    document = jwks(*(public_jwk("ES256") | {"kid": kid} for _ in range(2)))
    assert list(parse_jwks(document, lambda *warning: warnings.append(warning))) == [(kid, "ES256")]
    assert [(key_id, reason[:11]) for key_id, reason in warnings] == [(kid, "a later key")]


async def test_a_bad_key_among_good_ones_is_logged_once_with_its_reason() -> None:
    """By its id, and with nothing of the key: it may be a private one."""
    private = json.loads(ECAlgorithm.to_jwk(private_key("ES256"))) | {"kid": "private"}  # type: ignore[arg-type]
    bad = [
        private,
        public_jwk("ES256", "encrypts") | {"use": "enc"},
        public_jwk("RS256", "rs512") | {"alg": "RS512"},
        public_jwk("ES256", "signs") | {"key_ops": ["sign"]},
        public_jwk("ES256", "curve") | {"crv": "P-384"},
        {"kty": "RSA", "kid": "certificate", "x5c": ["MIIB"]},
        {"kty": "AKP", "kid": "tomorrow", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"},
        {"kid": "nothing"},
    ]
    clock = FakeClock()
    keys = JwksKeys(_Issuer(jwks(*bad, public_jwk("ES256", "good"))), clock, Dependency("jwks"))
    with structlog.testing.capture_logs() as logs:
        assert await keys.find("good", "ES256") is not None
        clock.now += 10_000
        assert await keys.find("unknown", "ES256") is None
    left_out = {entry["kid"]: entry["reason"] for entry in logs if entry["event"] == "jwks_key_left_out"}
    assert sum(entry["event"] == "jwks_key_left_out" for entry in logs) == len(bad)
    assert left_out == {
        "private": "it is a private key; a JWKS holds public ones",
        "encrypts": "its use is not sig",
        "rs512": "its type or algorithm is for none of RS256, ES256, EdDSA",
        "signs": "its key_ops lack verify",
        "curve": "its numbers, or its curve, cannot be read",
        "certificate": "its numbers, or its curve, cannot be read",
        "tomorrow": "its type or algorithm is for none of RS256, ES256, EdDSA",
        "secret": "its type or algorithm is for none of RS256, ES256, EdDSA",
        "nothing": "its type or algorithm is for none of RS256, ES256, EdDSA",
    }
    assert not any(value in str(logs) for value in (private["d"], private["x"], "c2VjcmV0"))


@pytest.mark.parametrize("document", [b"<html>", b"[]", b'{"keys": {}}', b'{"keys": []}'])
def test_a_document_without_usable_keys_is_refused(document: bytes) -> None:
    """An empty or foreign document never replaces good keys."""
    with pytest.raises(KeysError, match="the JWKS"):
        parse_jwks(document)


async def test_keys_come_from_a_file_or_a_url(tmp_path: Path) -> None:
    """A location that is no http(s) URL is a file."""
    file = tmp_path / "jwks.json"
    file.write_bytes(ONE)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=TWO) if request.url.path == "/jwks" else httpx.Response(500)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert await fetch_from(str(file), client)() == ONE
        assert await fetch_from("https://issuer.example/jwks", client)() == TWO
        with pytest.raises(KeysError, match="the issuer answered"):
            await fetch_from("http://issuer.example/other", client)()
