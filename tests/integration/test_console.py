"""The console in a real Chromium, on a real worker and API."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from tests.services.skips import pass_over
from tests.support import browser as browsers
from tests.support.browser import Reader, launched, reader_of
from tests.support.installation import ApiClient, Installation

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.once,
    pytest.mark.skipif(browsers.chromium() is None, reason="needs Chromium (on Debian the package chromium)"),
]

SECOND: Final = 1.0
EVIL: Final = "<img src=x onerror=window.hurt=1>\"'><script>window.hurt=1</script>"
OPERATOR: Final = "sleep:operate"


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
    return door.token("operators", OPERATOR)


async def _report(door: ApiClient, tenant: str, state: str, *, breaker: str = "payments", cause: str = "test") -> None:
    """Report what a breaker of a tenant does, as an emitter would."""
    headers = {"Authorization": f"Bearer {_operator(door)}", "Content-Type": "application/cloudevents+json"}
    event = {
        "specversion": "1.0",
        "type": "sleep.breaker.v1",
        "id": f"{tenant}-{time.monotonic_ns()}",
        "source": "urn:test",
        "subject": tenant,
        "data": {"breaker": breaker, "instance": "pod-1", "state": state, "cause": cause},
    }
    # TLS, which is not used here, would take longer to set up than the request.
    async with httpx.AsyncClient(base_url=door.url, headers=headers, timeout=30.0, verify=False) as client:  # noqa: S501
        answer = await client.post("/api/breakers/events", json=event)
        assert answer.status_code == 202, answer.text


async def _command(door: ApiClient, tenant: str, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
    async with door.client(tenant) as client:
        answer = await client.request(method, path, **options)
        assert answer.is_success, answer.text
        return answer


async def test_a_breaker_that_trips_is_on_the_page_within_a_second(reader: Reader, door: ApiClient) -> None:
    """In the fleet, and in the tenant with the reason; and so is its waking."""
    page = reader.page
    await reader.open("#/fleet", _operator(door))
    await reader.live()
    row = page.get_by_role("link", name="trips", exact=True)
    assert await row.count() == 0
    began = time.monotonic()
    await _report(door, "trips", "open")
    took = await reader.seconds_until(row, began)
    print(f"fleet: a trip is on the page after {took * 1000:.0f} ms, of at most {SECOND * 1000:.0f}")
    assert took < SECOND
    await row.click()
    await reader.live()
    why = page.locator("[data-why]")
    await why.filter(has_text="because breaker payments@pod-1 is open; wakes at").wait_for()
    assert "unless it reports again" in await why.inner_text()
    assert "ends in" in await page.locator("[data-lease]").first.inner_text()
    began = time.monotonic()
    await _report(door, "trips", "closed")
    took = await reader.seconds_until(why.filter(has_text="awake since"), began)
    print(f"tenant: the end of a sleep is on the page after {took * 1000:.0f} ms, of at most {SECOND * 1000:.0f}")
    assert took < SECOND
    await reader.check()


async def test_a_person_puts_a_tenant_to_sleep_and_cancels(reader: Reader, door: ApiClient) -> None:
    """By ordinary requests, which are shown before they are sent; a refusal is in the server's words at the field."""
    page = reader.page
    await reader.open("#/tenant/acts", _operator(door))
    await page.locator("[data-why]").filter(has_text="never seen").wait_for()
    assert await page.get_by_text("Loading the console").count() == 0
    await page.get_by_role("button", name="Sleep", exact=True).click()
    await page.get_by_label("For how many seconds").fill("9999999")
    dialog = page.get_by_role("dialog")
    assert "sleepctl send sleep light --ttl 9999999 --tenant acts" in await dialog.inner_text()
    assert "curl -X POST" in await dialog.inner_text()
    await dialog.get_by_role("button", name="Sleep", exact=True).click()
    await dialog.locator(".failure").wait_for()
    print(f"a TTL out of range: {await dialog.locator('.wrong').all_inner_texts()}")
    assert await dialog.locator(".wrong").count() == 1
    await page.get_by_label("For how many seconds").fill("600")
    await page.get_by_label("Reason, for the audit").fill("it's a test")
    await dialog.get_by_role("button", name="Sleep", exact=True).click()
    await dialog.get_by_text("Done: running, the tenant is light").wait_for()
    await dialog.get_by_role("button", name="Close", exact=True).click()
    await page.locator("[data-why]").filter(has_text="in light sleep since").wait_for()
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await dialog.get_by_role("button", name="Cancel", exact=True).click()
    await dialog.get_by_text("Done: cancelled").wait_for()
    await page.keyboard.press("Escape")
    await page.locator("[data-why]").filter(has_text="awake since").wait_for()
    await reader.check(422)


async def test_a_token_without_rights_is_offered_nothing(reader: Reader, door: ApiClient) -> None:
    """No screen of the platform, no button, and a foreign tenant is a page that says so."""
    page = reader.page
    await _report(door, "reads", "open")
    await reader.open("#/", door.token("reads", "sleep:read"))
    await page.locator("[data-why]").filter(has_text="frozen since").wait_for()
    assert await page.get_by_role("navigation").get_by_role("link").all_inner_texts() == ["Audit", "Live", "My tenant"]
    assert await page.locator(".actions button").count() == 0
    for address, text in (
        ("#/tenant/other", "does not allow you to read this tenant"),
        ("#/whatif/other", "does not allow you to read this tenant"),
        ("#/fleet", "does not show the tenants of others"),
        ("#/audit?tenant=other", "does not show the audit of other"),
        ("#/health", "need the scope"),
    ):
        await reader.visit(address)
        await page.get_by_text(text).wait_for()
    await reader.visit("#/whatif/reads")
    await page.get_by_text("may try a policy and not save it").wait_for()
    await reader.check()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("#/fleet?state=asleep", "the filter state must be one of"),
        ("#/fleet?colour=red", "fleet has no filter colour"),
        ("#/audit?from=yesterday", "the filter from must be milliseconds"),
        ("#/tenant/a%20b", "is no tenant"),
        ("#/nothing", "there is no screen nothing"),
        ("#/tenant/nobody-ever", "never seen"),
    ],
)
async def test_a_wrong_address_is_a_page_that_says_so(reader: Reader, door: ApiClient, address: str, text: str) -> None:
    """In words, with a way on."""
    await reader.open(address, _operator(door))
    await reader.page.get_by_text(text).first.wait_for()
    await reader.check()


async def test_a_token_that_is_wrong_or_ends_is_asked_for_again(reader: Reader, door: ApiClient) -> None:
    """At the same address."""
    await reader.page.goto(f"{door.url}/console/#/health")
    await reader.page.get_by_label("Token").fill("nonsense")
    await reader.page.get_by_role("button", name="Sign in").click()
    await reader.page.get_by_text("You are signed out").wait_for()
    await reader.page.get_by_label("Token").fill(_operator(door))
    await reader.page.get_by_role("button", name="Sign in").click()
    await reader.page.get_by_role("heading", name="Health").wait_for()
    await reader.check(401)


async def test_a_token_that_ends_while_the_page_is_open(reader: Reader, door: ApiClient) -> None:
    """Signs out by itself, with the reason and without an error; the next token goes on at the same address."""
    await reader.open("#/fleet?state=freeze", door.token("operators", OPERATOR, seconds=6))
    await reader.page.get_by_role("heading", name="Fleet").wait_for()
    await reader.page.get_by_text("The token has ended").wait_for()
    await reader.page.get_by_label("Token").fill(_operator(door))
    await reader.page.get_by_role("button", name="Sign in").click()
    await reader.live()
    assert reader.page.url.endswith("/console/#/fleet?state=freeze")
    await reader.check()


async def test_markup_in_names_reasons_and_causes_runs_nothing(reader: Reader, door: ApiClient) -> None:
    """It is shown as text on each screen, and in addresses too."""
    page = reader.page
    await reader.open("#/live", _operator(door))
    await reader.live()
    await _report(door, "evil", "open", breaker=EVIL, cause=EVIL)
    await page.get_by_text("window.hurt=1").first.wait_for()
    body = {"target_state": "deep", "ttl_seconds": 60, "reason": EVIL}
    await _command(door, "evil", "POST", "/api/util/sleep", json=body, headers={"Idempotency-Key": "a-1"})
    for address in (
        "#/fleet?text=evil",
        "#/tenant/evil",
        "#/audit?tenant=evil",
        "#/whatif/evil",
        f"#/fleet?text={EVIL}",
        f"#/tenant/{EVIL}",
        f"#/{EVIL}",
        f"#/audit?actor={EVIL}",
    ):
        await reader.visit(address)
        await page.locator("main h1").first.wait_for()
        await asyncio.sleep(0.3)  # whatever the screen asks for is shown by then
        assert await page.evaluate("() => window.hurt") is None, address
        assert await page.locator("img, main script").count() == 0
    await reader.visit("#/tenant/evil")
    await page.get_by_text(EVIL).first.wait_for()
    await reader.check()


async def test_a_policy_conflict_shows_what_differs(reader: Reader, door: ApiClient) -> None:
    """A wrong field is told at the field; who was slower sees the difference and decides."""
    page = reader.page
    await _report(door, "edits", "open")
    await reader.open("#/whatif/edits", _operator(door))
    await page.locator("[data-effect=after]").get_by_text("freeze").first.wait_for()
    await page.get_by_label("Ceiling").select_option("light")
    await page.locator("[data-effect=after] .state-light").wait_for()
    await page.locator("[data-effect=before] .state-freeze").wait_for()
    await page.get_by_label("Quorum").fill("0")
    await page.locator("[data-wrong='breakers.0.quorum']").wait_for()
    await page.get_by_label("Quorum").fill("1")
    await page.locator("[data-wrong]").first.wait_for(state="detached")
    other = {"floor": "active", "ceiling": "deep"}
    await _command(door, "edits", "PUT", "/api/brain/sleep_policy", json=other, headers={"If-Match": "*"})
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.get_by_text("Somebody was faster").wait_for()
    assert '"deep"' in await page.locator(".failure table").inner_text()
    await reader.shot_of("conflict")
    await page.get_by_role("button", name="Keep mine").click()
    await page.get_by_role("button", name="Save", exact=True).click()
    await page.get_by_text("Saved as version 2").wait_for()
    answer = await _command(door, "edits", "GET", "/api/brain/sleep_policy")
    assert answer.json()["policy"]["ceiling"] == "light"
    await reader.check(412, 422)


async def test_live_keeps_what_comes_while_it_is_paused(reader: Reader, door: ApiClient) -> None:
    """The newest on top, and nothing is lost by a pause."""
    page = reader.page
    await reader.open("#/live", _operator(door))
    await reader.live()
    await _report(door, "first", "open")
    await page.get_by_role("link", name="first", exact=True).wait_for()
    await page.get_by_role("button", name="Pause").click()
    await _report(door, "second", "open")
    await page.get_by_text("Paused: 1 have come since").wait_for()
    assert await page.get_by_role("link", name="second", exact=True).count() == 0
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_role("link", name="second", exact=True).wait_for()
    assert "second" in await page.locator("ol.rows li").first.inner_text()
    await reader.check()


async def test_a_lost_connection_is_seen_at_once_and_comes_back(chromium: Any, installation: Installation) -> None:  # noqa: ANN401
    """The API is killed; nothing is shown as live until it serves again and all is known anew."""
    door = await installation.open_door()
    port = door.url.rpartition(":")[2]
    async with reader_of(chromium, door.url) as reader:
        await reader.open("#/fleet", _operator(door))
        await reader.live()
        began = time.monotonic()
        door.process.kill()
        took = await reader.seconds_until(reader.page.locator(".link-lost"), began)
        print(f"a lost connection is seen after {took * 1000:.0f} ms, of at most {SECOND * 1000:.0f}")
        assert took < SECOND
        assert await reader.page.locator(".link-live").count() == 0
        again = await installation.open_door(SLEEP_API_PORT=port)
        await reader.live()
        await _report(again, "after-outage", "open")
        await reader.page.get_by_role("link", name="after-outage").wait_for()
        await reader.check(0, 503)
        again.process.stop()


async def test_every_screen_is_usable_by_everybody(chromium: Any, door: ApiClient) -> None:  # noqa: ANN401
    """In light and dark, wide and at 360 px: axe finds nothing serious, and nothing runs out of the page."""
    if browsers.axe() is None:
        pass_over("needs npm, which gets axe-core")
    for number in range(12):
        await _report(door, f"shop-{number}", ("open", "half_open")[number % 3 == 0])
    body = {"target_state": "deep", "ttl_seconds": 1800, "reason": "nightly batch"}
    await _command(door, "shop-2", "POST", "/api/util/sleep", json=body)
    pin = {"target_state": "active", "ttl_seconds": 900, "override": True, "reason": "a person is looking"}
    await _command(door, "shop-4", "POST", "/api/brain/sleep_mode", json=pin)
    for dark, width in ((False, 1200), (True, 360)):
        async with reader_of(chromium, door.url, width=width, dark=dark) as reader:
            await reader.page.goto(f"{door.url}/console/")
            await reader.page.get_by_label("Token").wait_for()
            assert await reader.faults() == []
            for name, address, ready in (
                ("fleet", "#/fleet", ".row a"),
                ("tenant", "#/tenant/shop-2", "[data-lease]"),
                ("whatif", "#/whatif/shop-2", "[data-effect]"),
                ("audit", "#/audit", "ol.rows li"),
                ("live", "#/live", ".link-live"),
                ("health", "#/health", "[aria-labelledby=partitions] tbody tr"),
            ):
                await reader.open(address, _operator(door))
                await reader.page.locator(ready).first.wait_for()
                if name == "live":
                    await _report(door, "shop-1", ("closed", "open")[dark])
                    await reader.page.locator("ol.rows li").first.wait_for()
                if not dark or name == "fleet":
                    await reader.shot_of(name + ("-dark" if dark else ""))
                assert await reader.faults() == [], f"{name} at {width} px"
                assert await reader.wider() == [], f"{name} at {width} px"
            await reader.check()


async def test_the_first_paint_is_soon(reader: Reader, door: ApiClient) -> None:
    """The sign-in is there within half a second, on this machine's own network."""
    await reader.page.goto(f"{door.url}/console/")
    await reader.page.get_by_label("Token").wait_for()
    paint, sent = await reader.page.evaluate(
        """() => [
            performance.getEntriesByName("first-contentful-paint")[0].startTime,
            performance.getEntries().reduce((sum, entry) => sum + (entry.transferSize ?? 0), 0),
        ]"""
    )
    print(f"console: first paint after {paint:.0f} ms of at most 500, {sent} bytes of at most 150000")
    assert sent <= 150_000
    assert paint <= 500
    await reader.check()
