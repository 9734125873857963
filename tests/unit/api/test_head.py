"""HEAD wherever GET is: the same head, and no body."""

import asyncio

import pytest
import structlog

from api.streaming import streams
from tests.support.operations import outcome
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.connection import ALL, STATES, URL, Connection, Host

OWN = {"x-request-id", "ratelimit"}
"""Headers that differ from one request to the next."""


async def test_head_is_served_wherever_get_is(api: ApiOverFakes) -> None:
    """With the headers of the GET, `Content-Length` among them; a path that has no GET names what it has."""
    api.store.outcomes["acme", "op-1"] = outcome()
    paths = {
        route.path: route.methods
        for included in api.app.routes
        for route in included.effective_candidates()  # type: ignore[attr-defined] # FastAPI's own, for included routers
    }
    assert len(paths) > 10
    for path, methods in paths.items():
        if path in (URL, ALL, STATES):
            continue
        url = path.replace("{operation_id}", "op-1").replace("{path:path}", "app.js")
        head, get = await api.client.head(url), await api.client.get(url)
        assert (head.status_code, head.content) == (get.status_code, b"")
        if "GET" not in methods and get.status_code == 405:
            assert head.headers["allow"] == get.headers["allow"]
            continue
        assert get.status_code in (200, 308, 503), url
        assert head.headers.keys() == get.headers.keys()
        if path != "/metrics":  # Its counts grow with each request.
            assert {name: value for name, value in head.headers.items() if name not in OWN} == {
                name: value for name, value in get.headers.items() if name not in OWN
            }


async def test_head_passes_token_policy_and_limits_as_get_does(api: ApiOverFakes) -> None:
    """And is refused as GET is, by the status and the headers."""
    path = "/api/brain/sleep_mode"
    unauthenticated = await api.client.head(path, headers={"Authorization": ""})
    assert (unauthenticated.status_code, unauthenticated.headers["www-authenticate"]) == (401, "Bearer")
    api.limiter.amount = 1
    assert (await api.client.head(path)).status_code == 200
    limited = await api.client.head(path)
    assert (limited.status_code, "retry-after" in limited.headers, limited.content) == (429, True, b"")
    api.authoriser.decision = api.authoriser.decision._replace(allow=False, reasons=("no",))
    assert (await api.client.head(path)).status_code == 403
    assert [question.action for question in api.authoriser.questions] == ["read"] * 3


async def test_a_wrong_method_is_told_that_head_is_served(api: ApiOverFakes) -> None:
    """Where GET is, and only there."""
    for path, allowed in (
        ("/api/brain/sleep_mode", "GET, HEAD, POST"),
        ("/healthz", "GET, HEAD"),
        ("/api/breakers/events", "POST"),
    ):
        for method in ("OPTIONS", "PATCH"):
            answer = await api.client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_the_log_line_of_a_head_says_head(api: ApiOverFakes) -> None:
    """With the route that was served."""
    with structlog.testing.capture_logs() as logs:
        await api.client.head("/api/operations/op-1")
    assert (logs[0]["method"], logs[0]["route"]) == ("HEAD", "/api/operations/{operation_id}")


@pytest.mark.parametrize("url", [URL, ALL])
async def test_the_head_of_a_stream_ends_at_once_and_holds_no_place(
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> None:
    """A stream that is open goes on beside it; with no place left it is refused as the GET would be."""
    headers = {"Authorization": f"Bearer {token(scope='sleep:operate')}"}

    async def head() -> Connection:
        asked = Connection(url, headers)
        asked.scope["method"] = "HEAD"
        async with asyncio.timeout(5):
            await host.app(asked.scope, asked.receive, asked.send)
        return asked

    monkeypatch.setattr(streams, "MOST_STREAMS", 1)
    first, again = await head(), await head()
    assert [(each.status, each.body, each.complete) for each in (first, again)] == [(200, b"", True)] * 2
    async with host.connect(url, **headers) as (client, _):
        client.reads.set()
        while not client.status:
            await asyncio.sleep(0)
        assert client.headers.keys() == first.headers.keys()
        assert (await head()).status == 429


async def test_the_head_of_a_stream_that_cannot_begin_is_503(host: Host) -> None:
    """As the GET is."""
    host.api.services.streams._feed._dependency.mark_down("refused")  # noqa: SLF001
    asked = Connection(URL, {"Authorization": f"Bearer {token()}"})
    asked.scope["method"] = "HEAD"
    await host.app(asked.scope, asked.receive, asked.send)
    assert (asked.status, asked.body) == (503, b"")
