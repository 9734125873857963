"""The outermost middleware (pure ASGI): request ids, security headers, and a log line and metrics for each request."""

import re
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.commands.operation_id import new_id
from api.errors.problems import METHODS, ProblemError
from api.observability.metrics import Metrics
from schemas.clock import Clock

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Added unless the route has set them itself."""

_UUID: Final = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# `traceparent` of W3C Trace Context: version 00, and later versions that begin in the same way.
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACEPARENT_LATER: Final = re.compile(
    rb"(?!ff|00)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}-.*"
)
# Probes and scrapes come every few seconds; they are logged at `debug` only.
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})

log = structlog.get_logger(__name__)


class Exchange:
    """One request and its answer.

    Attributes:
        facts: the fields of the log line.
        added: headers that are added to any answer.
        status: of the answer, 0 before it begins.
    """

    __slots__ = ("_request_id", "_started", "added", "facts", "status")

    def __init__(self, scope: Scope, clock: Clock) -> None:
        self._started = time.perf_counter()
        self._request_id = _one(scope, b"x-request-id", _uuid) or new_id(clock())
        self.facts: dict[str, Any] = {"request_id": self._request_id}
        if (trace_id := _one(scope, b"traceparent", _trace_id)) is not None:
            self.facts["trace_id"] = trace_id
        self.added: dict[str, str] = {}
        self.status = 0
        scope["sleep.facts"], scope["sleep.headers"] = self.facts, self.added

    def begin_answer(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Note the status of the answer, and complete its headers."""
        self.status = status
        names = {name for name, _ in headers}
        headers += (header for header in SECURITY_HEADERS if header[0] not in names)
        headers += ((name.lower().encode(), value.encode()) for name, value in self.added.items())
        headers.append((b"x-request-id", self._request_id.encode()))

    def failed(self, path: str, error: Exception) -> Response:
        """Log a failure of our own, and return the answer to its request."""
        self.facts["code"] = "internal_error"
        log.error("request_failed", request_id=self._request_id, path=path, exc_info=error)
        return ProblemError("internal_error", "the request id finds the cause in the log").response(self._request_id)

    def account(self, scope: Scope, metrics: Metrics) -> None:
        """Count the request, and write its log line."""
        seconds = time.perf_counter() - self._started
        route: str = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"
        metrics.request(route, method, self.status, seconds)
        if "code" in self.facts:
            metrics.problem(self.facts["code"])
        write = log.debug if route in _QUIET else log.info
        write("request", method=method, route=route, status=self.status, ms=round(seconds * 1000, 1), **self.facts)


class RequestMiddleware:
    """Wraps the application.

    Puts two dicts into the scope: `sleep.facts`, the fields of the log line, and `sleep.headers`, headers that are
    added to any answer.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Clock) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, self._clock)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.begin_answer(message["status"], message.setdefault("headers", []))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            response = exchange.failed(scope["path"], error)
            if exchange.status:
                raise
            await response(scope, receive, send_with_headers)
        finally:
            exchange.account(scope, self._metrics)


def _one(scope: Scope, header: bytes, parse: Callable[[bytes], str | None]) -> str | None:
    """Return the parsed value of a header; None if it is absent, repeated or invalid."""
    values: list[bytes] = [value for name, value in scope["headers"] if name == header]
    return parse(values[0]) if len(values) == 1 else None


def _uuid(value: bytes) -> str | None:
    """Return the caller's own request id if it is a UUID, which a problem's `instance` needs."""
    return str(UUID(value.decode())) if _UUID.fullmatch(value) else None


def _trace_id(value: bytes) -> str | None:
    match = _TRACEPARENT.fullmatch(value) or _TRACEPARENT_LATER.fullmatch(value)
    return None if match is None else match[1].decode()
