"""One connection to the OPA server, and the reader of its answers.

The parser is llhttp, as on the serving side: one answer costs it 2 microseconds, and a parser in Python 170.
"""

import asyncio
import select
from typing import Final, cast

import httptools

from api.errors.base import ApiError

LONGEST_ANSWER: Final = 65_536
"""The longest answer of an OPA server, in bytes. A longer one is invalid."""
_LONGEST_HEAD: Final = 16_384
_DELIMITING: Final = frozenset({b"content-length", b"transfer-encoding"})
_NOT_HTTP: Final = "its answer is not valid HTTP, or incomplete"


class InvalidAnswerError(ApiError):
    """The server's answer is not HTTP, not JSON, too long, or followed by another one."""


class _AnswerReader:
    """Parses the answers of one connection, one for each question.

    Attributes:
        body: the body, as far as it has arrived.
        done: whether the answer is complete.
        more: whether anything follows the answer.
        reusable: whether HTTP allows another question on the connection.
        received: how many bytes have arrived since the question.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.expect()

    def expect(self) -> None:
        """Begin with the answer to another question."""
        self.body = bytearray()
        self.done = self.more = self.reusable = False
        self.received = 0
        self._fault: InvalidAnswerError | None = None
        self._begin()

    def _begin(self) -> None:
        self._status = b""
        self._head_complete = self._delimited = self._informational = False

    def feed(self, data: bytes) -> None:
        """Read a part of the answer.

        Raises:
            InvalidAnswerError: if it is invalid or too long.
        """
        self.received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.done:
                # The error's own text may quote the answer.
                raise InvalidAnswerError(_NOT_HTTP) from None
            self.more = True
        most = LONGEST_ANSWER if self._head_complete else 0
        if len(self.body) > LONGEST_ANSWER or self.received > _LONGEST_HEAD + most:
            raise InvalidAnswerError(f"an answer of more than {LONGEST_ANSWER} bytes")
        if self._fault is not None:
            raise self._fault

    def end(self) -> None:
        """Require that an answer is complete if its body ends here, with the connection.

        Raises:
            ConnectionResetError: if no answer began.
            InvalidAnswerError: if the answer is incomplete.
        """
        if not self.received:
            raise ConnectionResetError("the server closed the connection before it answered")
        if not self._head_complete or self._delimited or self._informational:
            raise InvalidAnswerError(_NOT_HTTP)

    # The names below are those of the parser's callbacks.

    def on_message_begin(self) -> None:
        """Begin a head: of the answer, of the one after an informational answer, or of one answer too many."""
        if self.done:
            self.more = True
        else:
            self._begin()

    def on_status(self, text: bytes) -> None:
        """Take a part of the reason phrase."""
        self._status += text

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: ARG002 - the parser's signature
        """Check a field of the head."""
        if self.done:
            return
        name = name.lower()
        if name in _DELIMITING:
            self._delimited = True
        elif name == b"content-encoding":
            # A compressed answer could expand beyond the bound.
            self._fault = InvalidAnswerError("an answer that is packed")

    def on_headers_complete(self) -> None:
        """Require a status of success, or of information."""
        if self.done:
            return
        status = self._parser.get_status_code()
        self._head_complete = True
        self._informational = 100 <= status < 200  # noqa: PLR2004 - the class of information
        if not self._informational and not 200 <= status < 300:  # noqa: PLR2004 - the class of success
            self._fault = InvalidAnswerError(f"it answered {status} {self._status.decode('latin-1')}".strip())

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        if not self.done:
            self.body += data

    def on_message_complete(self) -> None:
        """End the answer, unless it was informational."""
        if not self.done and not self._informational:
            self.done = True
            self.reusable = self._parser.should_keep_alive()


class OpaConnection(asyncio.Protocol):
    """One connection, which notices unsolicited bytes from the server.

    Attributes:
        used_at: the time of its last answer, by the loop's clock, in seconds.
    """

    def __init__(self) -> None:
        self.used_at = 0.0
        self._reader = _AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Receive a part of the answer. Close the connection if no question is open."""
        if self._answered is None:
            self.close()
        elif self._answered.done():
            self._reader.more = True
        else:
            try:
                self._reader.feed(data)
            except InvalidAnswerError as error:
                self._answered.set_exception(error)
            else:
                if self._reader.done:
                    self._answered.set_result(None)

    def eof_received(self) -> None:
        """Handle the end of the server's data."""
        self._end()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Handle the loss of the connection."""
        self._end()

    def _end(self) -> None:
        self._transport = None
        if self._answered is not None and not self._answered.done():
            try:
                self._reader.end()
            except (ConnectionResetError, InvalidAnswerError) as error:
                self._answered.set_exception(error)
            else:
                self._answered.set_result(None)

    def close(self) -> None:
        """Close at once, without sending or reading more."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    @property
    def quiet(self) -> bool:
        """Whether the connection is open and no bytes have arrived, not even in the kernel's buffer."""
        if self._transport is None:
            return False
        socket = self._transport.get_extra_info("socket")
        if socket is None or self._transport.get_extra_info("ssl_object") is not None:
            # A TLS server sends session tickets without being asked.
            return True
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the body of its answer.

        Raises:
            ConnectionError: if the connection ends before an answer begins.
            InvalidAnswerError: if the answer is invalid.
        """
        if self._transport is None:
            raise ConnectionResetError("the connection was closed")
        loop = asyncio.get_running_loop()
        self._reader.expect()
        self._answered = loop.create_future()
        try:
            self._transport.write(request)
            await self._answered
        finally:
            self._answered = None
        self.used_at = loop.time()
        return bytes(self._reader.body)

    @property
    def more(self) -> bool:
        """Whether more bytes follow the answer."""
        return self._reader.more

    @property
    def reusable(self) -> bool:
        """Whether the connection can take another question."""
        return self._transport is not None and self._reader.reusable and not self._reader.more
