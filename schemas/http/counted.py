"""One answer under way: counted, refused where too many answers are unread, and written at once where it is small."""

from typing import Any, Final, cast

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseStartEvent,
    HTTPScope,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

from schemas.http.answers import SMALL_BYTES, Account, answering, length_of

PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Answered whatever is unread: an orchestrator ends a process that does not say that it lives."""
WHOLE_BODY: Final = "sleep.whole_body"
"""Key of the scope that holds a function: it returns the body once all of it has arrived, else None."""
_READING: Final = frozenset({"GET", "HEAD"})
# The answer to one of these says what was done, so it is given whatever its size.
_DOING: Final = frozenset({"PUT", "DELETE"})
# uvicorn reads these two headers, so it writes an answer that has one of them.
_OF_CONNECTION: Final = frozenset({b"connection", b"transfer-encoding"})


class Counted:
    """An application for one request.

    Reading is refused before anything is built. What was built meanwhile is refused too, unless it is small.

    uvicorn writes the head of an answer, and then its body: two system calls, and two packets. Here a small answer is
    one write. All else is left to uvicorn.

    Args:
        app: the application that answers.
        cycle: uvicorn's state of the request.
        account: the bytes under way on the connection.
    """

    __slots__ = ("_account", "_app", "_cycle", "_refused", "_start")

    def __init__(self, app: ASGI3Application, cycle: RequestResponseCycle, account: Account) -> None:
        self._app = app
        self._cycle = cycle
        self._account = account
        self._refused = False
        self._start: HTTPResponseStartEvent | None = None

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, _send: ASGISendCallable) -> None:
        """Serve the request."""
        cast("dict[str, Any]", scope)[WHOLE_BODY] = self._whole_body
        early = self._account.early_answer() if _may_be_refused(cast("HTTPScope", scope)) else None
        try:
            if early is None:
                await self._app(scope, receive, self._take)
            else:
                await answering(*early)(scope, receive, self._cycle.send)
        finally:
            self._count()

    def _whole_body(self) -> bytes | None:
        cycle = self._cycle
        if cycle.more_body or cycle.waiting_for_100_continue or cycle.disconnected:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    async def _take(self, message: ASGISendEvent) -> None:
        """Take a message of the application."""
        if self._refused:
            return
        if message["type"] == "http.response.start":
            await self._begin(message)
            return
        if message["type"] == "http.response.body":
            start, self._start = self._start, None
            body = message.get("body", b"")
            if start is not None:
                if not message.get("more_body", False) and self._write_whole(start, body):
                    self._count()
                    return
                await self._cycle.send(start)
            self._account.set(self._buffered() + len(body))
        await self._cycle.send(message)
        self._count()

    async def _begin(self, message: HTTPResponseStartEvent) -> None:
        """Begin the answer: with its body if it is small, now if it is large, not at all if it is refused."""
        size = length_of(message.get("headers", ()))
        if 0 < size <= SMALL_BYTES:
            self._start = message
            return
        if size > SMALL_BYTES and self._cycle.scope["method"] not in _DOING:
            early = self._account.early_answer()
            if early is not None:
                self._refused = True
                await answering(*early)(self._cycle.scope, self._cycle.receive, self._cycle.send)
                return
        self._account.set(size)
        await self._cycle.send(message)

    def _write_whole(self, start: HTTPResponseStartEvent, body: bytes) -> bool:
        """Write an answer at once. Return False, and write nothing, if uvicorn must write it.

        Raises:
            RuntimeError: if a header has a character that may not be in a head, as uvicorn does.
        """
        cycle = self._cycle
        headers = [*cycle.default_headers, *start.get("headers", ())]
        if (
            cycle.disconnected
            or cycle.flow.write_paused
            or not cycle.keep_alive
            or cycle.scope["method"] == "HEAD"
            or length_of(headers) != len(body)
            or not _OF_CONNECTION.isdisjoint(name for name, _ in headers)
        ):
            return False
        # A tab may be in a value, and in no name.
        if HEADER_RE.search(b"".join(name for name, _ in headers)) or HEADER_VALUE_RE.search(
            b"\t".join(value for _, value in headers)
        ):
            raise RuntimeError("an answer's header has a character that may not be in a head")
        lines = [b"%b: %b\r\n" % header for header in headers]
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"".join((STATUS_LINE[start["status"]], *lines, b"\r\n", body)))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _buffered(self) -> int:
        return self._cycle.transport.get_write_buffer_size()

    def _count(self) -> None:
        self._account.set(self._buffered())


def _may_be_refused(scope: HTTPScope) -> bool:
    """Return whether a request only reads; the answer to a command is small, and says what was done."""
    return scope["method"] in _READING and scope["path"] not in PROBES
