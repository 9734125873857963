"""The built documentation site in a real Chromium: it fetches nothing from elsewhere, and fits a phone."""

import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from docs.site.build import build
from tests.support import browser as browsers
from tests.support.browser import launched

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.once,
    pytest.mark.skipif(browsers.chromium() is None, reason="needs Chromium (on Debian the package chromium)"),
]

PAGES: Final = (
    "index.html",
    "tutorial/first-steps.html",
    "reference/http.html",
    "reference/states.html",
    "explanation/architecture.html",
    "explanation/parameters.html",
)
HIDDEN: Final = (
    "(pictures) => pictures.filter((each) => each.checkVisibility() && each.naturalWidth === 0).map((each) => each.src)"
)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
        """Write no line for each request."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site, built anew."""
    folder = tmp_path_factory.mktemp("site") / "built"
    assert build(folder) > 100
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()
    assert Path(folder, "files", "schemas", "json", "openapi.json").exists()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    """One browser for the module."""
    async with launched() as browser:
        yield browser


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light")])
async def test_pages_show_pictures_fit_the_screen_and_fetch_nothing_elsewhere(
    chromium: Any,  # noqa: ANN401 - playwright ends with the fixture
    site: str,
    width: int,
    scheme: str,
) -> None:
    """On a desk and on a phone, in light and in dark."""
    context = await chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    elsewhere: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(site) else None)
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for name in PAGES:
        await page.goto(f"{site}/{name}", wait_until="networkidle")
        assert await page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
        assert await page.eval_on_selector_all("article img", HIDDEN) == [], name
    assert (elsewhere, complaints) == ([], [])
    await context.close()


async def test_the_search_finds_a_page(chromium: Any, site: str) -> None:  # noqa: ANN401 - as above
    """In the browser alone."""
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(f"{site}/index.html", wait_until="networkidle")
    await page.keyboard.press("Control+k")
    await page.locator("input:focus").wait_for()
    await page.keyboard.type("idempotency")
    await page.get_by_text("Send a command again safely").first.wait_for()
    await context.close()
