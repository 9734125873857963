"""Middleware for WSGI: the state of the tenant on each request, and an answer for tenants that sleep too deep."""

from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus
from typing import Any

from sleep_client.obeying import KEY, Denial, Guard, Otherwise, States

Environment = dict[str, Any]
App = Callable[[Environment, Callable[..., Any]], Iterable[bytes]]


class SleepMiddleware:
    """Puts the state of the tenant into each request's environment, as `environ["sleep_client.state"]`.

        app = SleepMiddleware(app, reader, tenant_of, deny={"freeze"}, not_ready="allow", no_tenant="deny")

    It behaves as the middleware for ASGI. `tenant` gets the environment. Servers that fork, such as gunicorn, need a
    reader for each process, opened after the fork.

    Raises:
        ValueError: if an argument is wrong.
    """

    def __init__(
        self,
        app: App,
        reader: States,
        tenant: Callable[[Environment], str | None],
        *,
        deny: Collection[str] = (),
        not_ready: Otherwise,
        no_tenant: Otherwise,
    ) -> None:
        self._app = app
        self._tenant = tenant
        self._guard = Guard(reader, deny, not_ready, no_tenant)

    def __call__(self, environ: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve a request, or deny it."""
        checked = self._guard.check(self._tenant(environ))
        if isinstance(checked, Denial):
            start_response(f"{checked.status} {HTTPStatus(checked.status).phrase}", checked.headers)
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [checked.body]
        environ[KEY] = checked
        return self._app(environ, start_response)
