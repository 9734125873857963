"""The outermost layer, pure ASGI: request ids, security headers, one log line and one count per request."""

import time
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.clock import Clock, new_id
from api.metrics import Metrics
from api.problems import ProblemError

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Sent unless a route has set its own."""

_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
# Probes and scrapes come every few seconds and say nothing.
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})

log = structlog.get_logger(__name__)


class Edge:
    """Wraps the application; puts `sleep.facts` into the scope, which the log line is made of."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Clock) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = new_id(self._clock())
        facts: dict[str, Any] = {"request_id": request_id}
        scope["sleep.facts"] = facts
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                present = {name for name, _ in headers}
                headers.extend(header for header in SECURITY_HEADERS if header[0] not in present)
                headers.append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            facts["code"] = "internal_error"
            log.exception("request_failed", request_id=request_id, path=scope["path"])
            if status:
                raise
            detail = "the request id finds the cause in the log"
            response = ProblemError("internal_error", detail).response(request_id)
            await response(scope, receive, send_with_headers)
        finally:
            self._account(scope, facts, status, time.perf_counter() - started)

    def _account(self, scope: Scope, facts: dict[str, Any], status: int, seconds: float) -> None:
        route: str = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.request(route, method, status, seconds)
        write = log.debug if route in _QUIET else log.info
        write("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), **facts)
