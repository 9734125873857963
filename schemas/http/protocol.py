"""HTTP/1.1 as bytes: uvicorn's protocol with bounded heads, without upgrades, and with problems as early answers.

Every port that this project opens for HTTP serves with it; `schemas.http.connection` makes what a server takes.

**An upgrade is ignored** (RFC 9110, section 7.8). The parser cannot ignore one: after a head that asks for an upgrade,
and after the head of a `CONNECT`, it takes the message for ended and the rest of the connection for another protocol.
A parser that goes on from there would read the body as the next request. So such a head is parsed twice: once as it
came, and once more by a new parser, written out again without its `Upgrade` fields. The new parser then reads what
follows the head, and so knows the body's length. A `CONNECT` is refused, and nothing behind it is read.
"""

from asyncio import TimerHandle, Transport
from typing import Final, cast

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from schemas.errors import SchemasError
from schemas.http.answers import length_of
from schemas.http.counted import PROBES
from schemas.http.early_answers import (
    HEAD_TOO_LARGE,
    MALFORMED,
    METHOD_NOT_IMPLEMENTED,
    TOO_MANY_CONNECTIONS,
    VERSION_NOT_SUPPORTED,
    EarlyAnswer,
)
from schemas.http.head import fault_of, protocol_fault, target_of
from schemas.http.paced import PacedHttp
from schemas.http.parser_errors import Where, detail_of
from schemas.http.pieces import Part, Pieces

HEAD_BYTES: Final = 65_536
"""How large a request line with its headers may be; nginx takes 32 KiB, a token of ours has 16 at the most."""
MOST_FIELDS: Final = 128
"""How many fields a head may have; Apache and Tomcat take 100. A field of five bytes takes 200 in memory."""
HEAD_SECONDS: Final = 10.0
"""How long a head may take to arrive, so that a caller who sends a byte now and then holds no connection for ever."""
ABORT: Final = "sleep.abort"
"""ASGI extension: closes the connection at once, with what is still to be sent."""

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_CONNECT: Final = b"CONNECT"
# What the parser says of a version, and of the preface with which HTTP/2 begins (RFC 9113, section 3.4).
_OTHER_VERSION: Final = frozenset({"Invalid HTTP version", "Pause on PRI/Upgrade"})


log = structlog.get_logger(__name__)


class _EarlyAnswerError(SchemasError):
    """Ends the parsing; the parser turns the exception into an error of its own."""

    def __init__(self, answer: EarlyAnswer, detail: str) -> None:
        super().__init__(detail)
        self.answer = answer
        self.detail = detail


class BoundedHttp(PacedHttp):
    """One connection: heads and trailers have their bounds here, bodies where they are read."""

    _head_timer: TimerHandle | None = None
    _head_bytes = 0
    """Bytes since the last head ended or a body went on: what a head or a trailer, pipelined ones too, has so far."""
    _field_bytes = 0
    """Bytes of the fields of the head that is being parsed."""
    _part = Part.LINE
    """What is being parsed."""
    _body_bytes = 0
    """Bytes of the body that is coming."""
    _in_head = False
    _head_again: bytes | None = None
    """The head that asked for an upgrade, without the fields that asked; the next parser begins with it."""
    _early: _EarlyAnswerError | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn itself
        """Begin to wait for the first head."""
        self._pieces = Pieces()
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer of a head."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes, unless they have to wait or make a head too large; uvicorn's own would lose a body."""
        self._unset_keepalive_if_required()
        if self._has_ended():
            return
        data, self._waiting = self._waiting + data, b""
        try:
            self._waiting = self._parse(data)
        except httptools.HttpParserError as error:
            self._answer_early_for(error)
        if self._has_ended():
            self._waiting = b""
            self._hold()
            return
        self._hold()
        if self._head_timer is None and self._idle:
            # The next request has begun, or nothing but a line break came, which no parser reports.
            self._await_head()

    def _parse(self, data: bytes) -> bytes:
        """Parse bytes until one request waits, and return those that are left.

        Raises:
            httptools.HttpParserError: if the bytes are no HTTP, or a callback refuses the request.
        """
        at = 0
        while at < len(data) and not self.pipeline and not self._has_ended():
            end = self._pieces.end(data, at)
            piece = data[at:end]
            self._head_bytes += len(piece)
            self._part, line_ended = self._pieces.part, self._pieces.take(piece)
            self._feed(piece)
            at = end
            if line_ended and (fault := protocol_fault(self._pieces.line)) is not None:
                self._answer_early(MALFORMED, fault)
            elif max(self._head_bytes, self._field_bytes) > HEAD_BYTES:
                self._answer_early(HEAD_TOO_LARGE, _head_too_large())
        return data[at:]

    def _feed(self, data: bytes) -> None:
        """Parse a piece, and go on behind a head that asks for an upgrade as if the head had not asked.

        Raises:
            httptools.HttpParserError: if the bytes are no HTTP, or a callback refuses the request.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                head, self._head_again = self._head_again, None
                if head is None:  # No callback asked for it: better no connection than a body read as a request.
                    raise httptools.HttpParserError("unexpected upgrade") from None
                data = data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                # As uvicorn sets its parser: a request may follow one that closes, and is never answered.
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(head)
            else:
                return

    def on_message_begin(self) -> None:
        """Begin a head; let a stream cut off a client that does not read, where closing would wait for it."""
        self._in_head = True
        self._field_bytes = 0
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]  # an extension of ours

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._field_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; one of a trailer is dropped, for whoever checked the head has not seen it."""
        if self._in_head:
            self._field_bytes += len(name) + len(value)
            if len(self.headers) >= MOST_FIELDS:
                self._stop(HEAD_TOO_LARGE, f"the request's head has more than {MOST_FIELDS} fields")
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request over, unless the head is refused, or asks for an upgrade and is parsed again."""
        self._in_head = False
        self._head_arrived()
        if self._field_bytes > HEAD_BYTES:
            self._stop(HEAD_TOO_LARGE, _head_too_large())
        version, method = self.parser.get_http_version(), self.parser.get_method()
        if version not in _VERSIONS:
            self._stop(VERSION_NOT_SUPPORTED, f"HTTP/{version} is not served; send HTTP/1.1")
        if method == _CONNECT:
            self._stop(METHOD_NOT_IMPLEMENTED, "this server is no proxy and opens no tunnel; send another method")
        fault = fault_of(self.url, version, self.headers)
        if fault is not None:
            self._stop(MALFORMED, fault)
        self._take_authority()
        if self._place.spare:
            self._require_probe()
        self._body_bytes = 0
        self._pieces.body(length_of(self.headers))
        if self.parser.should_upgrade():
            self._head_again = _written_out(method, self.url, version, self.headers)
        else:
            super().on_headers_complete()
            # Above a bound of connections, one probe is answered, and nothing behind it.
            self.cycle.keep_alive &= not self._place.spare

    def on_body(self, body: bytes) -> None:
        """Pass a body on."""
        self._head_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; one whose head is parsed again has only begun."""
        self._head_bytes = 0
        if self._head_again is None:
            self._pieces.next_request()
            super().on_message_complete()

    def _take_authority(self) -> None:
        """Serve a target in absolute form as its origin form, with the `Host` that it names."""
        target = target_of(self.url)
        if target is not None and target.authority is not None:
            self.url = target.origin_form
            self.headers[:] = [field for field in self.headers if field[0] != b"host"]
            self.headers.insert(0, (b"host", target.authority))

    def _require_probe(self) -> None:
        """Refuse anything but a probe on a connection above a bound.

        Raises:
            _EarlyAnswerError: if it is something else.
        """
        self._place.spoke()
        if self.url.partition(b"?")[0].decode("ascii") not in PROBES:
            detail = "your address or this process has as many connections as it may; close some, then try again"
            self._stop(TOO_MANY_CONNECTIONS, detail)

    def _stop(self, early: EarlyAnswer, detail: str) -> None:
        """End the parsing from within a callback.

        Raises:
            _EarlyAnswerError: always.
        """
        self._early = _EarlyAnswerError(early, detail)
        raise self._early

    def _answer_early_for(self, error: httptools.HttpParserError) -> None:
        """Answer bytes that the parser, or one of its callbacks, refused."""
        if self._early is not None:
            self._answer_early(self._early.answer, self._early.detail)
        elif str(error) in _OTHER_VERSION:
            self._answer_early(VERSION_NOT_SUPPORTED, "only HTTP/1.1 and HTTP/1.0 are served; send HTTP/1.1")
        elif self._field_bytes > HEAD_BYTES:
            self._answer_early(HEAD_TOO_LARGE, _head_too_large())
        else:
            if isinstance(error, httptools.HttpParserCallbackError):
                # Not the client's fault: something of ours broke on what the parser took.
                log.error("request_not_taken", exc_info=error)
            last_field = self.headers[-1][0] if self._in_head and self.headers else None
            self._answer_early(
                MALFORMED, detail_of(str(error), Where(self._part, self._pieces.line, last_field, self._body_bytes))
            )

    @property
    def _idle(self) -> bool:
        """Whether no request is in hand."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first, whatever uvicorn declares
        return cycle is None or cycle.response_complete

    def _answer_early(self, early: EarlyAnswer, detail: str) -> None:
        """Answer and close, once every request before was answered: what it did is done, and its caller is to know.

        A request whose own body is refused is not served any more. Where its answer has begun, the connection ends
        without another word: its reader would take ours for a part of it.
        """
        if not self._idle and self._part is Part.BODY:
            if self.pipeline:
                self.pipeline.popleft()
            elif self.cycle.response_started:
                self.transport.close()
                return
            else:
                self._serving = None
        self._end_with(early.answer(detail))

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = 0


def _head_too_large() -> str:
    return f"the request's head has more than {HEAD_BYTES} bytes"


def _written_out(method: bytes, target: bytes, version: str, fields: list[tuple[bytes, bytes]]) -> bytes:
    """Return a parsed head as bytes, without its `Upgrade` fields.

    No parsed name or value holds a line break: the parser refuses folded fields.
    """
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += (b"%b: %b" % field for field in fields if field[0] != b"upgrade")
    return b"\r\n".join([*lines, b"", b""])
