"""A real Chromium that looks at the console, and notes whatever a reader's browser would complain about."""

import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright

from tests.services import jars

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
AXE_VERSION: Final = "4.14.1"
AXE_SHA256: Final = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
"""Of `axe.min.js` in the package axe-core, which only tests use."""
SERIOUS: Final = ("serious", "critical")
LIMIT_MS: Final = 20_000
PICTURES: Final = Path(os.environ["SLEEP_TEST_PICTURES"]) if "SLEEP_TEST_PICTURES" in os.environ else None
"""Where pictures of each screen go; only the documentation needs them."""
# What the network says of an answer that is no success. A test names those that it provokes.
_REFUSED: Final = re.compile(r"Failed to load resource")
_NOTE_VIOLATIONS: Final = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


def chromium() -> str | None:
    """Return the path of a Chromium, None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path is not None), None)


@cache
def axe() -> str | None:
    """Return the source of axe, which finds faults of accessibility; None where there is no npm to get it."""
    folder = jars.cache_folder()
    file = folder / f"axe-{AXE_VERSION}.js"
    if not file.exists():
        npm = shutil.which("npm")
        if npm is None:
            return None
        command = [npm, "pack", f"axe-core@{AXE_VERSION}", "--silent"]
        folder.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120)
        with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            file.write_bytes(member.read())
    source = file.read_bytes()
    assert sha256(source).hexdigest() == AXE_SHA256, f"{file} is not that of axe-core {AXE_VERSION}; remove it"
    return source.decode()


class Reader:
    """One browser window, signed in or not.

    Attributes:
        complaints: what the browser has written as an error, but for answers that were no success.
        refused: answers that were no success.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url
        self.complaints: list[str] = []
        self.refused: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            refused = _REFUSED.match(message.text) is not None
            (self.refused if refused else self.complaints).append(f"{message.text} {message.location.get('url', '')}")

    async def open(self, address: str, token: str) -> None:
        """Open an address anew and sign in, as after a reload."""
        await self.page.goto("about:blank")
        await self.page.goto(f"{self._url}/console/{address}")
        await self.page.get_by_label("Token").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.locator("main h1").first.wait_for()

    async def visit(self, address: str) -> None:
        """Follow an address of the console without a reload."""
        await self.page.evaluate("(address) => { location.hash = address; }", address)

    async def live(self) -> None:
        """Wait until the screen says that it is live."""
        await self.page.locator(".link-live").wait_for()

    async def seconds_until(self, locator: Locator, began: float) -> float:
        """Return how long after a time (monotonic) an element is there."""
        await locator.wait_for()
        return time.monotonic() - began

    async def faults(self) -> list[str]:
        """Return what axe finds that is serious, each with the place."""
        source = axe()
        assert source is not None
        # Evaluated by the debugger: a script in the page would be refused by the console's own policy.
        await self.page.evaluate(source)
        found: dict[str, Any] = await self.page.evaluate("() => axe.run()")
        return [
            f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
            for violation in found["violations"]
            if violation["impact"] in SERIOUS
            for node in violation["nodes"]
        ]

    async def wider(self) -> list[str]:
        """Return what runs out of the page to the right, where the page can be scrolled sideways."""
        found: list[str] = await self.page.evaluate(
            """() => document.documentElement.scrollWidth <= innerWidth ? [] :
                [...document.querySelectorAll("body *")]
                    .filter((element) => element.getBoundingClientRect().right > innerWidth)
                    .map((element) => `${element.outerHTML.slice(0, 150)} ${element.getBoundingClientRect().right}`)"""
        )
        return found

    async def shot_of(self, name: str) -> None:
        """Take a picture for the documentation, where it is asked for."""
        if PICTURES is not None:
            await self.page.wait_for_timeout(300)  # until what was just asked for is drawn
            await self.shot(PICTURES / f"console-{name}.png")

    async def shot(self, path: Path) -> None:
        """Take a picture of what is seen."""
        await self.page.screenshot(path=path, animations="disabled")

    async def check(self, *refused: int) -> None:
        """Require that the browser complained of nothing.

        Args:
            refused: the statuses of answers that the test provokes; 0 is a connection that was refused or lost.
        """
        assert self.complaints == []
        assert await self.page.evaluate("() => window.violations") == []
        expected = "|".join(r"net::ERR_\w+" if status == 0 else f"status of {status} " for status in refused)
        unexpected = [text for text in self.refused if not (expected and re.search(expected, text))]
        assert not unexpected, unexpected


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """Start a Chromium without a window, and end it."""
    async with async_playwright() as playwright:
        # A container's root has no user namespace for Chromium's sandbox; nothing but our own page is opened.
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def reader_of(
    browser: Browser, url: str, *, width: int = 1200, height: int = 800, dark: bool = False
) -> AsyncIterator[Reader]:
    """Open a window of its own."""
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        timezone_id="Europe/Paris",
        reduced_motion="reduce",
    )
    try:
        await context.add_init_script(_NOTE_VIOLATIONS)
        page = await context.new_page()
        page.set_default_timeout(LIMIT_MS)
        yield Reader(page, url)
    finally:
        await context.close()
