"""The issuer's keys."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from api.door.keys import JwksKeys, KeysError, fetch_from, parse_jwks
from api.operate.dependency import Dependency, UnavailableError
from tests.unit.api.fakes import FakeClock, jwks, public_jwk


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
    assert (found := await keys.find("one")) is not None
    assert await keys.find("one") is found
    assert (issuer.asked, dependency.up, dependency.finding) == (1, True, "1 keys")
    await _end(running)


async def test_an_unknown_key_id_reads_the_keys_again_but_rarely() -> None:
    """At most once in ten seconds, however many tokens ask."""
    issuer, clock = _Issuer(ONE, TWO), FakeClock()
    keys, running, _ = await _loaded(issuer, clock)
    assert await keys.find("two") is None
    assert issuer.asked == 1
    clock.now += 9_999
    assert await keys.find("two") is None
    clock.now += 1
    assert await asyncio.gather(keys.find("two"), keys.find("two"), keys.find("three"))
    assert issuer.asked == 2
    await _end(running)


async def test_a_token_without_a_key_id_means_the_only_key() -> None:
    """With several keys it means none."""
    keys, running, _ = await _loaded(_Issuer(ONE), FakeClock())
    assert await keys.find(None) is await keys.find("one")
    await _end(running)
    keys, running, _ = await _loaded(_Issuer(TWO), FakeClock())
    assert await keys.find(None) is None
    await _end(running)


async def test_while_the_keys_cannot_be_read_nobody_can_tell() -> None:
    """That is an outage, not a wrong token."""
    clock = FakeClock()
    keys, running, dependency = await _loaded(_Issuer(ONE, httpx.ConnectError("refused")), clock)
    clock.now += 10_000
    with pytest.raises(UnavailableError, match="refused"):
        await keys.find("two")
    assert await keys.find("one") is not None
    assert not dependency.up
    with pytest.raises(KeysError, match="refused"):
        await running


async def test_keys_that_were_never_read_are_an_outage() -> None:
    """Before the first reading nothing verifies."""
    keys = JwksKeys(_Issuer(OSError("no such file")), FakeClock(), Dependency("jwks"))
    with pytest.raises(OSError, match="no such file"):
        await keys.run()
    with pytest.raises(UnavailableError, match="not yet tried"):
        await keys.find("one")


def test_keys_that_verify_nothing_of_ours_are_left_out() -> None:
    """Secrets, encryption keys, other curves and broken entries are no keys."""
    usable = public_jwk("RS256", "good")
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    encryption = public_jwk("ES256", "enc") | {"use": "enc"}
    other = public_jwk("RS256", "rs512") | {"alg": "RS512"}
    broken = {"kty": "RSA", "kid": "broken"}
    document = json.dumps({"keys": [secret, encryption, other, broken, "text", usable]}).encode()
    assert list(parse_jwks(document)) == ["good"]


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
