"""The fleet of the console in a real Chromium: a run over the tenants of a filter, and many rows."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.integration.conftest import PARTITIONS
from tests.support import browser as browsers
from tests.support.browser import Reader, launched, main_thread_tasks, reader_of
from tests.support.installation import ApiClient, Installation
from tests.support.records import sent_breaker

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.once,
    pytest.mark.timeout(300),
    pytest.mark.skipif(browsers.chromium() is None, reason="needs Chromium (on Debian the package chromium)"),
]

TENANTS: Final = 1_000
ROWS: Final = 10_000
UPDATES_A_SECOND: Final = 50
UPDATE_SECONDS: Final = 5
MOST_ROWS: Final = 100_000
LONG_TASK_MS: Final = 50.0
_NOTE_LONG_TASKS: Final = """() => {
    window.longTasks = [];
    new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((one) => one.duration)))
        .observe({ type: "longtask" });
}"""
# In place of the API's stream: as many tenants as nobody makes for a test, in the API's own form.
_MANY: Final = """(() => {
    const real = window.fetch;
    const record = (i) => {
        const ramp = { from: { K: 100 }, to: { K: 1 }, starts_at: 0, ends_at: 1 };
        const claim = { source: "breaker", key: `payments@pod-${i}`, state: "freeze", breaker_state: "open",
            since: 1e12 + i, expires_at: 4e12, actor: null, reason: null };
        return { tenant: `tenant-${i}`, state: i % 3 ? "freeze" : "light", decided: "freeze", since: 1e12 + i,
            cause: { kind: "breaker", key: claim.key }, claims: [claim], parameters: ramp,
            forecast: [{ at: 4e12, state: "active", parameters: ramp }], policy: null, position: `0:${i}` };
    };
    const text = (name, data) => `event: ${name}\\ndata: ${JSON.stringify(data)}\\n\\n`;
    window.fetch = (url, ...more) => {
        if (!String(url).endsWith("/api/states/events")) return real(url, ...more);
        const encoder = new TextEncoder();
        let next = 0;
        const body = new ReadableStream({
            async pull(controller) {
                await new Promise((resolve) => setTimeout(resolve, 5));
                if (next > COUNT) return;
                let chunk = "";
                for (let i = 0; i < 100 && next < COUNT; i += 1, next += 1) chunk += text("state", record(next));
                if (next === COUNT) {
                    chunk += text("ready", { now: Date.now() });
                    next += 1;
                }
                controller.enqueue(encoder.encode(chunk));
            },
        });
        return Promise.resolve(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
    };
})()""".replace("COUNT", str(MOST_ROWS))
_SCROLL: Final = """async () => {
    const list = document.querySelector(".list");
    const frames = [];
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    let before = await frame();
    for (let step = 1; step <= 90; step += 1) {
        list.scrollTop = (list.scrollHeight * step) / 90;
        const now = await frame();
        frames.push(now - before);
        before = now;
    }
    return frames.sort((a, b) => a - b);
}"""


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


async def test_ten_thousand_rows_move_without_a_long_task(
    reader: Reader,
    door: ApiClient,
    installation: Installation,
    chromium: Any,  # noqa: ANN401
) -> None:
    """At fifty updates a second, by the real stream."""
    page = reader.page
    await _freeze(installation, "row", ROWS)
    await reader.open("#/fleet?text=row-", _operator(door))
    await page.get_by_text(f"{ROWS} of").wait_for()
    await reader.live()
    await page.evaluate(_NOTE_LONG_TASKS)
    async with main_thread_tasks(chromium, page) as tasks:
        begun = asyncio.get_running_loop().time()
        for number in range(UPDATES_A_SECOND * UPDATE_SECONDS):
            name = f"row-{number * 37 % ROWS:05}"
            await installation.write([sent_breaker(name, "half_open", partitions=PARTITIONS)])
            await asyncio.sleep(max(0.0, begun + (number + 1) / UPDATES_A_SECOND - asyncio.get_running_loop().time()))
        took = asyncio.get_running_loop().time() - begun
        await page.locator("[data-count=light]").filter(has_text=str(UPDATES_A_SECOND * UPDATE_SECONDS)).wait_for()
    _report(f"{ROWS} rows, {UPDATES_A_SECOND * UPDATE_SECONDS / took:.0f} updates a second", tasks, await _long(page))
    assert max(tasks) <= LONG_TASK_MS
    await reader.check()


async def test_a_hundred_thousand_rows_stay_smooth(reader: Reader, door: ApiClient, chromium: Any) -> None:  # noqa: ANN401
    """While they come, and while they are scrolled from top to bottom."""
    page = reader.page
    await page.add_init_script(_MANY)
    async with main_thread_tasks(chromium, page) as coming:
        await reader.open("#/fleet", _operator(door))
        await page.evaluate(_NOTE_LONG_TASKS)
        await page.get_by_text(f"{MOST_ROWS} of {MOST_ROWS} tenants asleep").wait_for(timeout=150_000)
    _report(f"{MOST_ROWS} rows that come", coming, await _long(page))
    async with main_thread_tasks(chromium, page) as scrolling:
        frames = await page.evaluate(_SCROLL)
    assert await page.locator(".row").count() < 60
    print(f"frames of a scroll: median {frames[45]:.0f} ms, longest {frames[-1]:.0f} ms")
    _report(f"{MOST_ROWS} rows that are scrolled", scrolling, await _long(page))
    assert max(coming) <= 2 * LONG_TASK_MS
    assert max(scrolling) <= LONG_TASK_MS
    await reader.check()


async def _long(page: Any) -> list[float]:  # noqa: ANN401
    found: list[float] = await page.evaluate("() => window.longTasks.splice(0)")
    return found


def _report(what: str, tasks: list[float], long: list[float]) -> None:
    """Print the processor's time of the longest task, and what the page saw itself, which includes waits for a turn."""
    print(
        f"{what}: longest task {max(tasks):.0f} ms of the processor of at most {LONG_TASK_MS:.0f}; "
        f"by the clock {json.dumps([round(one) for one in long])} ms over 50"
    )
