"""Middleware for ASGI: the state of the tenant on each request, and an answer for tenants that sleep too deep."""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final

from sleep_client.obeying import KEY, Denial, Guard, Otherwise, States

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_TRY_AGAIN_LATER: Final = 1013
"""The code with which a WebSocket is closed."""


class SleepMiddleware:
    """Puts the state of the tenant into each request's scope, as `scope["sleep_client.state"]`.

        app = SleepMiddleware(app, reader, tenant_of, deny={"freeze"}, not_ready="allow", no_tenant="deny")

    A tenant in one of the states of `deny` gets 503 with a problem document, and with `Retry-After` if its forecast has
    an end of these states. A WebSocket is closed with 1013. The scope has None where a request is allowed without a
    state. Other scopes, such as `lifespan`, pass through.

    Args:
        app: the application.
        reader: a `SleepReader` or an `AsyncSleepReader`. Open and close it with the application.
        tenant: returns the tenant of a scope, None without one. Take it from the verified identity, not from a header
            that a caller can set.
        deny: the states in which requests are denied; none by default.
        not_ready: "allow" or "deny": what happens while the reader does not know the tenant's state. Denied requests
            get 503 with `Retry-After`.
        no_tenant: "allow" or "deny": what happens to a request without a tenant, or with a name that no tenant can
            have. Denied requests get 400.

    Raises:
        ValueError: if an argument is none of these.
    """

    def __init__(
        self,
        app: App,
        reader: States,
        tenant: Callable[[Scope], str | None],
        *,
        deny: Collection[str] = (),
        not_ready: Otherwise,
        no_tenant: Otherwise,
    ) -> None:
        self._app = app
        self._tenant = tenant
        self._guard = Guard(reader, deny, not_ready, no_tenant)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or deny it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        checked = self._guard.check(self._tenant(scope))
        if isinstance(checked, Denial):
            await _deny(checked, scope, receive, send)
            return
        scope[KEY] = checked
        await self._app(scope, receive, send)


async def _deny(denial: Denial, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()  # The handshake, which a close refuses.
        await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": "the tenant sleeps"})
        return
    headers = [(name.lower().encode(), value.encode()) for name, value in denial.headers]
    await send({"type": "http.response.start", "status": denial.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else denial.body})
