"""Sign-in to the console in a real Chromium: at a certified OpenID provider, and by a link that works once."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
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

TTL: Final = 8
"""Seconds of an access token: it is renewed after three quarters of them."""


class SignIn(NamedTuple):
    """An API whose console signs in at a provider."""

    provider: Provider
    door: ApiClient
    redirect: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    """One browser for the module."""
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at_issuer(installation: Installation) -> AsyncIterator[SignIn]:
    """A provider, and an API that trusts it."""
    port = free_port()
    redirect = f"http://127.0.0.1:{port}/console/"
    async with provided(free_port(), [redirect], ttl=TTL) as provider:
        door = await installation.open_door(SLEEP_API_PORT=str(port), **provider.environment())
        yield SignIn(provider, door, redirect)


@pytest_asyncio.fixture(loop_scope="module")
async def reader(chromium: Any, at_issuer: SignIn) -> AsyncIterator[Reader]:  # noqa: ANN401 - as the fixture above
    """A window without a session at the provider."""
    async with reader_of(chromium, at_issuer.door.url) as opened:
        # The provider's own pages ask for a font and an icon, which are not there; they are no part of the console.
        await opened.page.route(re.compile(r"//fonts\.|/favicon\.ico$"), _nothing)
        yield opened


async def _nothing(route: Any) -> None:  # noqa: ANN401
    await route.fulfill(status=204)


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

    def note(said: str) -> None:
        lost.append(said)

    await page.expose_function("noteLost", note)
    await page.evaluate(
        """() => new MutationObserver(() => document.querySelector(".link-lost") && window.noteLost("lost"))
            .observe(document.body, { childList: true, subtree: true })"""
    )
    async with asyncio.timeout(4 * TTL):
        while at_issuer.provider.renewals == renewals:
            await asyncio.sleep(0.1)
    await asyncio.sleep(TTL / 2)  # until the first token has ended
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


async def _serving(process: asyncio.subprocess.Process) -> dict[str, str]:
    """Return where an installation serves, once its scenario is over."""
    assert process.stdout is not None
    async for line in process.stdout:
        if "serving" in (said := json.loads(line)):
            return dict(said["serving"])
    raise AssertionError("it ended before it served")


async def test_the_link_of_an_embedded_installation_signs_in_once(chromium: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """It is in no log, and leaves the address at once."""
    log = (tmp_path / "log").open("wb")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sleepctl", "run", "--json", "--verbose", "--port", str(free_port())),
        *("--worker-port", str(free_port())),
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
    )
    try:
        async with asyncio.timeout(200):
            serving = await _serving(process)
        link, url = serving["console"], serving["url"]
        async with reader_of(chromium, url) as reader:
            await reader.page.goto(link)
            await reader.page.get_by_role("heading", name="Fleet").wait_for()
            await reader.live()
            assert await reader.page.locator(".who").inner_text() == "operator Sign out"
            assert reader.page.url == f"{url}/console/#/fleet"
            await reader.page.goto("about:blank")
            await reader.page.goto(link)
            await reader.page.get_by_text("the link was used before").wait_for()
            await reader.page.get_by_label("Token").wait_for()
            await reader.check(401)
    finally:
        process.terminate()
        await process.communicate()
        log.close()
    assert link.partition("code=")[2] not in (tmp_path / "log").read_text()


async def test_a_session_that_the_issuer_has_ended_is_told(reader: Reader, at_issuer: SignIn) -> None:
    """In words and without a loop, once the token is to be renewed. It is the last test of this provider."""
    await _sign_in(reader, "#/health", at_issuer)
    at_issuer.provider.close_accounts()
    text = reader.page.get_by_text("your session there has ended")
    await text.wait_for()
    assert "did not sign you in" in await text.inner_text()
    assert reader.page.url == f"{at_issuer.redirect}#/health"
    await reader.check(400)
