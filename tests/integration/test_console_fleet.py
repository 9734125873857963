"""The fleet of the console in a real Chromium: a run over the tenants of a filter."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.integration.conftest import PARTITIONS
from tests.support import browser as browsers
from tests.support.browser import Reader, launched, reader_of
from tests.support.installation import ApiClient, Installation
from tests.support.records import sent_breaker

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.once,
    pytest.mark.timeout(300),
    pytest.mark.skipif(browsers.chromium() is None, reason="needs Chromium (on Debian the package chromium)"),
]

TENANTS: Final = 1_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Any]:
    """One browser for the module."""
    async with launched() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def reader(chromium: Any, door: ApiClient) -> AsyncIterator[Reader]:  # noqa: ANN401 - as the fixture above
    """A window of its own for each test."""
    async with reader_of(chromium, door.url) as opened:
        yield opened


def _operator(door: ApiClient) -> str:
    return door.token("operators", "sleep:operate")


async def _freeze(installation: Installation, prefix: str, count: int) -> None:
    names = (f"{prefix}-{number:05}" for number in range(count))
    await installation.write(sent_breaker(name, partitions=PARTITIONS) for name in names)
    await installation.caught_up()


async def _answered(reader: Reader) -> int:
    return int((await reader.page.locator("[data-run]").inner_text()).split()[0])


async def test_a_thousand_tenants_are_woken_stopped_and_continued(
    reader: Reader, door: ApiClient, installation: Installation
) -> None:
    """Those of the filter and no others; each gets one command, however often the run is stopped."""
    page = reader.page
    await _freeze(installation, "mass", TENANTS)
    await _freeze(installation, "other", 3)
    await reader.open("#/fleet?text=mass-", _operator(door))
    await page.get_by_text(f"{TENANTS} of {TENANTS + 3} tenants asleep").wait_for()
    before = await installation.length(installation.settings.topics.events)
    await page.get_by_role("button", name=f"Act on these {TENANTS} tenants").click()
    dialog = page.get_by_role("dialog")
    send = dialog.get_by_role("button", name=f"Send to {TENANTS} tenants")
    await dialog.get_by_label("Reason").fill("an outage is over")
    await dialog.get_by_label("Commands a second").fill("950")
    assert await send.is_disabled()
    await dialog.get_by_label(f"Type {TENANTS} to go on").fill(str(TENANTS + 1))
    assert await send.is_disabled()
    if browsers.axe() is not None:
        assert await reader.faults() == []
    await dialog.get_by_label(f"Type {TENANTS} to go on").fill(str(TENANTS))
    await send.click()
    progress = page.locator("[data-run]")
    async with asyncio.timeout(60):
        while await _answered(reader) < TENANTS // 10:
            await asyncio.sleep(0.05)
    await page.get_by_role("button", name="Stop").click()
    await page.locator("[data-run=stopped]").wait_for()
    stopped = await _answered(reader)
    print(f"run: stopped after {stopped} of {TENANTS} tenants")
    assert TENANTS // 10 <= stopped < TENANTS
    published = await installation.length(installation.settings.topics.events) - before
    assert published == stopped
    # Another screen names the run, and leads back to it.
    await reader.visit("#/health")
    await page.get_by_role("link", name=f"{stopped} of {TENANTS}, stopped").click()
    await reader.shot_of("run")
    await page.get_by_role("button", name=f"Go on with {TENANTS - stopped} tenants").click()
    await page.locator("[data-run=finished]").wait_for(timeout=120_000)
    assert f"{TENANTS} done, 0 refused" in await progress.inner_text()
    assert await installation.length(installation.settings.topics.events) - before == TENANTS
    await page.get_by_text("3 of 3 tenants asleep").wait_for()
    await page.get_by_role("button", name="Close").click()
    await reader.check()


async def test_a_run_that_is_refused_stops_and_says_why(
    reader: Reader, door: ApiClient, installation: Installation
) -> None:
    """A wrong TTL is refused for the first tenants and not for all; a reader without the scope is offered no run."""
    page = reader.page
    await _freeze(installation, "refused", 60)
    await reader.open("#/fleet?text=refused-", door.token("operators", "sleep:read-any"))
    await page.get_by_text("60 of").wait_for()
    assert await page.get_by_role("button", name="Act on").count() == 0
    await reader.open("#/fleet?text=refused-", _operator(door))
    await page.get_by_role("button", name="Act on these 60 tenants").click()
    await page.get_by_label("For how many seconds").fill("9999999")
    await page.get_by_label("Type 60 to go on").fill("60")
    await page.get_by_role("button", name="Send to 60 tenants").click()
    await page.get_by_text("tenants were all refused").wait_for()
    assert await page.locator("section.note li").count() == 10
    assert 20 <= await _answered(reader) < 60
    await reader.check(422)
