"""How the console's page learns where to sign in, and what it may ask then."""

import json
from collections.abc import Callable
from typing import Any, Final

import httpx
import pytest

from api.app import Wiring, create_app
from api.console.issuer import KEPT_MS, READ_AGAIN_MS, TRY_AGAIN_MS, Issuer, IssuerError, discovered
from api.console.routes import CODE_HEADER, CONTENT_SECURITY_POLICY
from api.console.sign_in_codes import LIVES_MS, MOST, SignInCodes
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.fakes import FakeClock

NAME: Final = "https://issuer.test/realm"
DOCUMENT: Final[dict[str, Any]] = {
    "issuer": NAME,
    "authorization_endpoint": "https://login.issuer.test/auth",
    "token_endpoint": "https://issuer.test:8443/token",
    "revocation_endpoint": "https://issuer.test/revoke",
    "response_types_supported": ["code", "id_token"],
    "code_challenge_methods_supported": ["S256"],
    "scopes_supported": ["openid", "sleep:operate", "other"],
    "userinfo_endpoint": "https://other.test/me",
}


class FakeIssuer:
    """Answers with a document, or fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.document: dict[str, Any] | Exception = DOCUMENT

    async def fetch(self) -> bytes:
        self.asked += 1
        if isinstance(self.document, Exception):
            raise self.document
        return json.dumps(self.document).encode()


@pytest.fixture
def fake() -> FakeIssuer:
    """The issuer behind."""
    return FakeIssuer()


@pytest.fixture
def clock() -> FakeClock:
    """A clock of its own."""
    return FakeClock()


@pytest.fixture
def issuer(fake: FakeIssuer, clock: FakeClock) -> Issuer:
    """What the API knows of it."""
    return Issuer(NAME, "sleep-console", "urn:sleep", fake.fetch, clock)


def _client(api: ApiOverFakes, **more: Any) -> httpx.AsyncClient:  # noqa: ANN401 - fields of the wiring
    app = create_app(Wiring(api.services, **more))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")


async def test_without_an_issuer_a_token_is_pasted(api: ApiOverFakes) -> None:
    """And no code signs anybody in, since only the embedded installation gives codes."""
    assert (await api.client.get("/console/sign-in")).json() == {"issuer": None}
    assert (await api.client.post("/console/sign-in", headers={CODE_HEADER: "x"})).status_code == 405


async def test_the_page_may_ask_the_origins_of_the_issuer_and_no_other(api: ApiOverFakes, issuer: Issuer) -> None:
    """Those that it asks: a reader goes to the place of sign-in, and nothing asks for the account."""
    async with _client(api, issuer=issuer) as client:
        start = await client.get("/console/")
        asked = "connect-src 'self' https://issuer.test https://issuer.test:8443; "
        assert start.headers["content-security-policy"] == CONTENT_SECURITY_POLICY.replace(
            "connect-src 'self'; ", asked
        )
        script = await client.get("/console/app.js")
        assert script.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        ways = (await client.get("/console/sign-in")).json()
    assert (ways["issuer"], ways["client_id"], ways["resource"]) == (NAME, "sleep-console", "urn:sleep")
    assert (ways["scopes"], ways["problem"]) == ("openid sleep:operate", None)
    assert "userinfo_endpoint" not in ways["server"]


async def test_a_page_under_another_policy_is_another_page(
    api: ApiOverFakes, issuer: Issuer, fake: FakeIssuer, clock: FakeClock
) -> None:
    """By its tag: a browser keeps the policy that it has when it is told that nothing has changed."""
    fake.document = OSError("away")
    async with _client(api, issuer=issuer) as client:
        closed = await client.get("/console/")
        assert closed.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        ways = (await client.get("/console/sign-in")).json()
        assert (ways["server"], ways["problem"]) == (None, "OSError: away")
        fake.document = DOCUMENT
        clock.now += TRY_AGAIN_MS
        opened = await client.get("/console/", headers={"If-None-Match": closed.headers["etag"]})
        assert opened.status_code == 200
        assert "https://issuer.test" in opened.headers["content-security-policy"]
        again = await client.get("/console/", headers={"If-None-Match": opened.headers["etag"]})
        assert again.status_code == 304


async def test_the_issuer_is_asked_now_and_then(issuer: Issuer, fake: FakeIssuer, clock: FakeClock) -> None:
    """Not with each page. While it is away, the last document is used for a day."""
    first = await issuer.discover()
    assert await issuer.discover() is first
    assert fake.asked == 1
    fake.document = TimeoutError()
    clock.now += READ_AGAIN_MS
    assert await issuer.discover() is first
    assert await issuer.discover() is first
    assert fake.asked == 2
    clock.now += KEPT_MS
    with pytest.raises(IssuerError, match="TimeoutError"):
        await issuer.discover()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d | {"issuer": NAME + "/"}, "another issuer"),
        (lambda d: d | {"token_endpoint": None}, "token_endpoint"),
        (lambda d: d | {"token_endpoint": "http://issuer.test/token"}, "no https URL"),
        (lambda d: d | {"token_endpoint": "https://a.test; script-src *"}, "no https URL"),
        (lambda d: d | {"token_endpoint": "https://u:p@a.test/"}, "no https URL"),
        (lambda d: d | {"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint"),
        (lambda d: d | {"revocation_endpoint": 5}, "revocation_endpoint"),
        (lambda d: d | {"response_types_supported": ["token"]}, "does not support code"),
        (lambda d: d | {"code_challenge_methods_supported": ["plain"]}, "does not support S256"),
        (lambda _: [], "no object|not an object"),
    ],
)
def test_a_document_that_is_of_no_use_is_refused(change: Callable[[Any], Any], reason: str) -> None:
    """With the reason."""
    with pytest.raises(IssuerError, match=reason):
        discovered(json.dumps(change(DOCUMENT)).encode(), NAME)


def test_a_document_may_leave_out_what_is_optional() -> None:
    """Then all scopes of ours are asked for. An issuer on this machine needs no TLS."""
    local = {name: f"http://[::1]:5/{name}" for name in ("authorization_endpoint", "token_endpoint")}
    found = discovered(json.dumps({"issuer": NAME, **local}).encode(), NAME)
    assert found.origins == ("http://[::1]:5",)
    assert "sleep:override" in found.scopes
    with pytest.raises(IssuerError, match="not JSON"):
        discovered(b"{", NAME)


async def test_a_code_signs_in_once(api: ApiOverFakes, clock: FakeClock) -> None:
    """And is told what is wrong with it otherwise, without the code."""
    codes = SignInCodes(lambda: "t0ken", clock)
    code, late = codes.issue(), codes.issue()
    async with _client(api, sign_in=codes) as client:
        given = await client.post("/console/sign-in", headers={CODE_HEADER: code})
        assert (given.status_code, given.json()) == (200, {"token": "t0ken"})
        assert given.headers["cache-control"] == "no-store"
        clock.now += LIVES_MS
        for wrong in (code, late, "", "é"):
            refused = await client.post("/console/sign-in", headers=[(CODE_HEADER.encode(), wrong.encode())])
            assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
            assert "used before" in refused.json()["detail"]
        twice = await client.post("/console/sign-in", headers=[(CODE_HEADER, "a"), (CODE_HEADER, "b")])
        assert twice.status_code == 400


def test_only_the_newest_codes_are_known(clock: FakeClock) -> None:
    """Their number is bounded."""
    codes = SignInCodes(lambda: "t0ken", clock)
    given = [codes.issue() for _ in range(MOST + 1)]
    assert [codes.redeem(code) for code in given] == [None, *["t0ken"] * MOST]
