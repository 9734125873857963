"""The middleware: the state on the request, denials with what callers need, and nothing silent."""

from collections.abc import Collection
from typing import Any
from wsgiref.util import setup_testing_defaults

import httpx
import pytest
from pydantic_core import from_json

from sleep_client import NotReady, NotWatched, TenantState, asgi, wsgi
from sleep_client.obeying import KEY, REDUCED_CAPACITY
from sleep_client.protocol.names import check_tenant

ARGUMENTS: dict[str, Any] = {"deny": {"freeze"}, "not_ready": "deny", "no_tenant": "deny"}


class Reader:
    """Knows what a test says."""

    def __init__(self) -> None:
        self.states: dict[str, TenantState | Exception] = {}
        self.left: float | None = None
        self.asked: Collection[str] = ()

    def state(self, tenant: str) -> TenantState:
        known = self.states.get(check_tenant(tenant), TenantState("active", {"K": 100}))
        if isinstance(known, Exception):
            raise known
        return known

    def seconds_in(self, tenant: str, states: Collection[str]) -> float | None:
        self.asked = states
        return self.left if tenant == "acme" else None


@pytest.fixture
def reader() -> Reader:
    """A reader for which `acme` is frozen."""
    reader = Reader()
    reader.states["acme"] = TenantState("freeze", {"K": 1})
    return reader


class Caller:
    """Calls an application behind the middleware, by one interface or the other."""

    def __init__(self, kind: str, reader: Reader) -> None:
        self.kind = kind
        self.reader = reader
        self.seen: list[object] = []

    async def _asgi_app(self, scope: Any, _: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own
        self.seen.append(scope[KEY])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})

    def _wsgi_app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:  # noqa: ANN401 - WSGI's own
        self.seen.append(environ[KEY])
        start_response("200 OK", [])
        return [b"served"]

    async def call(self, tenant: str | None, method: str = "GET", **arguments: Any) -> httpx.Response:  # noqa: ANN401 - the middleware's own
        """Send a request of a tenant."""
        arguments = ARGUMENTS | arguments
        transport: httpx.AsyncBaseTransport
        if self.kind == "asgi":
            app = asgi.SleepMiddleware(self._asgi_app, self.reader, lambda _: tenant, **arguments)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.request(method, "/")
        guarded = wsgi.SleepMiddleware(self._wsgi_app, self.reader, lambda _: tenant, **arguments)
        environ: dict[str, Any] = {"REQUEST_METHOD": method}
        setup_testing_defaults(environ)
        answer: dict[str, Any] = {}

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            answer.update(status_code=int(status.partition(" ")[0]), headers=headers)

        return httpx.Response(content=b"".join(guarded(environ, start_response)), **answer)


@pytest.fixture(params=["asgi", "wsgi"])
def caller(request: pytest.FixtureRequest, reader: Reader) -> Caller:
    """A caller by each interface."""
    return Caller(request.param, reader)


async def test_the_state_is_on_the_request(caller: Caller) -> None:
    """Also that of a tenant which sleeps, but not too deep."""
    assert (await caller.call("globex")).text == "served"
    assert (await caller.call("acme", deny=())).text == "served"
    assert (await caller.call("acme", deny={"deep"})).text == "served"
    assert [getattr(state, "state", None) for state in caller.seen] == ["active", "freeze", "freeze"]


@pytest.mark.parametrize(("left", "expected"), [(29.2, "30"), (0.0, "1"), (None, None)])
async def test_a_tenant_that_sleeps_too_deep_is_denied(
    caller: Caller, left: float | None, expected: str | None
) -> None:
    """With the registered type of problem, and the time of its forecast if there is one."""
    caller.reader.left = left
    answer = await caller.call("acme", deny={"freeze", "deep"})
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, expected)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": REDUCED_CAPACITY,
        "title": "Temporary Reduced Capacity",
        "status": 503,
        "detail": "Tenant acme is in state freeze. Try again later.",
    }
    assert caller.reader.asked == {"freeze", "deep"}
    assert caller.seen == []


async def test_a_head_has_no_body(caller: Caller) -> None:
    """But its headers."""
    answer = await caller.call("acme", "HEAD")
    assert (answer.status_code, answer.content) == (503, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("error", [NotReady("closed"), NotWatched("tenant other")])
async def test_a_state_that_is_not_known(caller: Caller, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """As the caller decided; the log says it once, and the request has None."""
    caller.reader.states["other"] = error
    answer = await caller.call("other")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert from_json(answer.content)["type"] == "about:blank"
    assert (await caller.call("other", not_ready="allow")).text == "served"
    assert caller.seen == [None]
    assert ["denied" in line for line in caplog.messages] == [True, False]
    assert str(error) in caplog.text


@pytest.mark.parametrize("tenant", [None, "a b", ""])
async def test_a_request_without_a_tenant(caller: Caller, tenant: str | None) -> None:
    """Or with a name that no tenant can have."""
    answer = await caller.call(tenant)
    assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")
    assert (await caller.call(tenant, no_tenant="allow")).text == "served"
    assert caller.seen == [None]


async def test_the_log_says_each_kind_once(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    """However many requests there are."""
    app = wsgi.SleepMiddleware(lambda *_: [], reader, lambda _: None, **ARGUMENTS)
    for _ in range(3):
        list(app({"REQUEST_METHOD": "GET"}, lambda *_: None))
    assert len(caplog.messages) == 1


async def test_a_websocket_is_closed_and_other_scopes_pass(reader: Reader) -> None:
    """A close before the handshake refuses it."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's own
        sent.append(message)

    async def app(scope: Any, _: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own
        await send((scope["type"], KEY in scope))

    guarded = asgi.SleepMiddleware(app, reader, lambda scope: scope["tenant"], **ARGUMENTS)
    await guarded({"type": "websocket", "tenant": "acme"}, receive, send)
    await guarded({"type": "websocket", "tenant": "globex"}, receive, send)
    await guarded({"type": "lifespan"}, receive, send)
    assert sent[0]["code"] == 1013
    assert sent[1:] == [("websocket", True), ("lifespan", False)]


@pytest.mark.parametrize(
    "wrong", [{"deny": "freeze"}, {"deny": {"asleep"}}, {"not_ready": "pass"}, {"no_tenant": None}]
)
@pytest.mark.parametrize("middleware", [asgi.SleepMiddleware, wsgi.SleepMiddleware])
def test_wrong_arguments_are_said_at_once(middleware: Any, wrong: dict[str, Any], reader: Reader) -> None:  # noqa: ANN401 - both
    """Before the first request."""
    (name,) = wrong
    with pytest.raises(ValueError, match=f"^{name}: use"):
        middleware(None, reader, lambda _: None, **(ARGUMENTS | wrong))
