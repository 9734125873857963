"""Sign-in to the console in a real Chromium: at a certified OpenID provider, and by a link that works once."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio

from tests.services.probe import free_port
from tests.support import browser as browsers
from tests.support.browser import Reader, launched, reader_of
from tests.support.installation import ApiClient, Installation
from tests.support.oidc import Provider, provided

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.once,
    pytest.mark.skipif(browsers.chromium() is None, reason="needs Chromium (on Debian the package chromium)"),
]

TTL: Final = 6
"""Seconds of an access token: it is renewed after three quarters of them."""


class SignIn(NamedTuple):
    """An API whose console signs in at a provider."""

    provider: Provider
    door: ApiClient
    redirect: str
    issuer_port: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    """One browser for the module."""
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at_issuer(installation: Installation) -> AsyncIterator[SignIn]:
    """A provider, and an API that trusts it."""
    port, issuer_port = free_port(), free_port()
    redirect = f"http://127.0.0.1:{port}/console/"
    async with provided(issuer_port, [redirect], ttl=TTL) as provider:
        door = await installation.open_door(SLEEP_API_PORT=str(port), **provider.environment())
        yield SignIn(provider, door, redirect, issuer_port)


@pytest_asyncio.fixture(loop_scope="module")
async def reader(chromium: Any, at_issuer: SignIn) -> AsyncIterator[Reader]:  # noqa: ANN401 - as the fixture above
    """A window without a session at the provider."""
    async with reader_of(chromium, at_issuer.door.url) as opened:
        yield opened


async def _sign_in(reader: Reader, address: str, at: SignIn) -> None:
    """Open an address, sign in at the provider, and come back."""
    page = reader.page
    await page.goto(f"{at.redirect}{address}")
    await page.get_by_role("button", name="Sign in").click()
    await page.locator("input[name=login]").fill("operator")
    await page.locator("input[name=password]").fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_text("Sign out").wait_for()


async def test_a_reader_signs_in_comes_back_and_stays_signed_in(reader: Reader, at_issuer: SignIn) -> None:
    """To the same address and filters, also after a reload, and beyond the end of a token."""
    page = reader.page
    address = "#/fleet?state=freeze&text=acme"
    await _sign_in(reader, address, at_issuer)
    assert page.url == f"{at_issuer.redirect}{address}"
    assert await page.get_by_label("Text").input_value() == "acme"
    assert await page.locator(".who").inner_text() == "operator Sign out"
    await reader.live()
    # The tokens are nowhere but in the memory of the page.
    kept = "() => [sessionStorage.length, localStorage.length, document.cookie]"
    assert await page.evaluate(kept) == [0, 0, ""]
    await page.reload()
    await reader.live()
    assert page.url == f"{at_issuer.redirect}{address}"
    renewals = at_issuer.provider.renewals
    lost: list[str] = []
    await page.expose_function("noteLost", lambda said: lost.append(said))
    await page.evaluate(
        """() => new MutationObserver(() => document.querySelector(".link-lost") && window.noteLost("lost"))
            .observe(document.body, { childList: true, subtree: true })"""
    )
    async with asyncio.timeout(4 * TTL):
        while at_issuer.provider.renewals < renewals + 2:
            await asyncio.sleep(0.1)
    await reader.live()
    # The stream ends with its token; the next one goes on where it was, and nothing is shown as lost.
    assert lost == []
    await page.get_by_label("Text").fill("")
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Sign in").wait_for()
    await reader.check()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("error=access_denied&error_description=<b>no</b>", "you, or the issuer, did not allow the sign-in"),
        ("error=unauthorized_client", "does not let the client sleep-console"),
        ("error=new_error", "it answered new_error"),
        ("code=forged&iss=http://other.test", "is not accepted"),
    ],
)
async def test_an_error_of_the_issuer_is_shown_in_words(
    reader: Reader, at_issuer: SignIn, answer: str, text: str
) -> None:
    """And its own description as text; an answer of another issuer is refused."""
    page = reader.page

    async def answered(route: Any) -> None:  # noqa: ANN401
        state = re.search(r"[?&]state=([^&]+)", route.request.url)
        assert state is not None
        separator = "" if "iss=" in answer else f"&iss={at_issuer.provider.issuer}"
        location = f"{at_issuer.redirect}?{answer}&state={state[1]}{separator}"
        await route.fulfill(status=303, headers={"location": location})

    await page.route(re.compile(r"/auth\?"), answered)
    await page.goto(f"{at_issuer.redirect}#/audit?tenant=acme")
    await page.get_by_text(text).wait_for()
    assert page.url == f"{at_issuer.redirect}#/audit?tenant=acme"
    assert await page.locator("main b").count() == 0
    await reader.check()


async def test_an_answer_that_was_not_asked_for_signs_nobody_in(reader: Reader, at_issuer: SignIn) -> None:
    """Such as a link that somebody else made with a code of theirs."""
    await reader.page.goto(f"{at_issuer.redirect}?code=theirs&state=theirs&iss={at_issuer.provider.issuer}#/fleet")
    await reader.page.get_by_text("was not begun in this window").wait_for()
    assert reader.page.url == f"{at_issuer.redirect}#/fleet"
    await reader.check()


async def test_without_the_issuer_nobody_signs_in(chromium: Any, installation: Installation) -> None:  # noqa: ANN401
    """The page says so, and may ask nothing but its own address."""
    issuer = f"http://127.0.0.1:{free_port()}"
    door = await installation.open_door(SLEEP_CONSOLE_OIDC_ISSUER=issuer, SLEEP_CONSOLE_OIDC_CLIENT_ID="sleep-console")
    async with reader_of(chromium, door.url) as reader:
        await reader.page.goto(f"{door.url}/console/")
        await reader.page.get_by_text(f"The issuer {issuer} cannot be used").wait_for()
        assert await reader.page.get_by_label("Token").count() == 0
        assert await reader.page.get_by_role("button", name="Try again").count() == 1
        await reader.check()
    door.process.stop()


async def test_a_session_that_the_issuer_has_ended_is_told(reader: Reader, at_issuer: SignIn) -> None:
    """In words, without a loop; another issuer of that name knows neither session nor refresh token."""
    await _sign_in(reader, "#/health", at_issuer)
    await at_issuer.provider.stop()
    async with provided(at_issuer.issuer_port, [at_issuer.redirect], ttl=TTL):
        text = reader.page.get_by_text("your session there has ended")
        await text.wait_for()
        assert "did not sign you in" in await text.inner_text()
        assert reader.page.url == f"{at_issuer.redirect}#/health"
        await reader.check(0, 400, 401)
