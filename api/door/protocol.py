"""HTTP as bytes: uvicorn's protocol, with bounded heads, and our own answer to what is no HTTP."""

from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.clock import new_id, now_ms
from api.describe.problems import PROBLEM_TYPE, ProblemError

HEAD_BYTES: Final = 65_536
"""How large a request line with its headers may be; nginx takes 32 KiB, a token of ours has 16 at the most."""
HEAD_SECONDS: Final = 10.0
"""How long a head may take to arrive, so that a caller who sends a byte now and then holds no connection for ever."""


WRITE_SECONDS: Final = 30.0
"""How long a caller may leave an answer unread before the connection is cut off."""


class _HeadTooLargeError(Exception):
    """Ends the parsing; the parser turns it into an error of its own."""


class BoundedHttp(HttpToolsProtocol):
    """One connection: heads, trailers and unread answers have their bounds here, bodies where they are read."""

    _head_timer: TimerHandle | None = None
    _write_timer: TimerHandle | None = None
    _head_bytes = 0
    """Bytes since the last head ended or a body went on: what a head or a trailer, pipelined ones too, has so far."""
    _field_bytes = 0
    """Bytes of the fields of the head that is being parsed."""
    _in_head = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn itself
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, and the requests behind the present one: nobody is there for their answers."""
        self._head_arrived()
        self._written()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, unless they make a head too large."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if max(self._head_bytes, self._field_bytes) > HEAD_BYTES:
            self._refuse(ProblemError("head_too_large", f"the request's head has more than {HEAD_BYTES} bytes"))
        elif self._head_timer is None and self._idle:
            # The next request has begun, or nothing but a line break came, which no parser reports.
            self._await_head()

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._in_head = True
        self._field_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._field_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; one of a trailer is dropped, for whoever checked the head has not seen it."""
        if self._in_head:
            self._field_bytes += len(name) + len(value)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, unless its head came at once and is too large."""
        self._in_head = False
        self._head_arrived()
        if self._field_bytes > HEAD_BYTES:
            raise _HeadTooLargeError
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a body on."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._head_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Begin to wait until the caller reads on."""
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on: the caller reads."""
        self._written()
        super().resume_writing()

    def _written(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP, or a head too large; `msg` is uvicorn's own text."""
        if self._field_bytes > HEAD_BYTES:
            self._refuse(ProblemError("head_too_large", f"the request's head has more than {HEAD_BYTES} bytes"))
            return
        self._refuse(ProblemError("malformed_request", f"{msg.rstrip('.')}: look at what stands between you and us"))

    @property
    def _idle(self) -> bool:
        """Whether no request is in hand."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first, whatever uvicorn declares
        return cycle is None or cycle.response_complete

    def _refuse(self, problem: ProblemError) -> None:
        """Answer and close; where another answer is under way, its reader would take ours for a part of it."""
        if self._idle:
            request_id = new_id(now_ms())
            response = problem.response(request_id)
            head = (
                f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\ncontent-type: {PROBLEM_TYPE}\r\n"
                f"content-length: {len(response.body)}\r\nx-request-id: {request_id}\r\n"
                "x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + bytes(response.body))
        self.transport.close()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = 0
