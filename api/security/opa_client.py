"""HTTP/1.1 to the OPA server. Each answer provably belongs to its question.

On a reused connection, one answer too many would shift all later answers, and a denial could become a permission. So a
connection is reused only if the policy echoes the question's nonce, which proves that the answer belongs to it. With
any other policy each question gets a connection of its own. See docs/decisions/0020-verified-reports.md.
"""

import asyncio
import base64
import json
import secrets
import select
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

import certifi
import h11
from pydantic_core import from_json

from api.errors.base import ApiError
from schemas.tls import context_for

LONGEST_ANSWER: Final = 65_536
"""The longest answer of an OPA server, in bytes. A longer one is invalid."""
CONNECTIONS: Final = 64
"""Concurrent connections to the OPA server. A decision takes about a millisecond, so hundreds of callers share them."""
_IDLE_SECONDS: Final = 30.0
_LONGEST_HEAD: Final = 16_384
_PORTS: Final = {"http": 80, "https": 443}


class InvalidAnswerError(ApiError):
    """The server's answer is not HTTP, not JSON, too long, or followed by another one."""


class NoEchoError(ApiError):
    """The answer does not hold the question's nonce: it may be the answer to another question."""


class OpaConnection(asyncio.Protocol):
    """One connection, which notices unsolicited bytes from the server.

    Attributes:
        used_at: the time of its last answer, by the loop's clock, in seconds.
    """

    def __init__(self) -> None:
        self.used_at = 0.0
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._transport: asyncio.Transport | None = None
        self._asking = False
        self._arrived = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Receive a part of the answer. Close the connection if no question is open."""
        if not self._asking:
            self.close()
            return
        self._receive(data)

    def eof_received(self) -> None:
        """Handle the end of the server's data."""
        self._receive(b"")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Handle the loss of the connection."""
        self._transport = None
        self._receive(b"")

    def _receive(self, data: bytes) -> None:
        if data or not self._http.trailing_data[1]:
            self._http.receive_data(data)
        self._arrived.set()

    def close(self) -> None:
        """Close at once, without sending or reading more."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    @property
    def quiet(self) -> bool:
        """Whether the connection is open and no bytes have arrived, not even in the kernel's buffer."""
        if self._transport is None or self._asking or self._http.trailing_data != (b"", False):
            return False
        socket = self._transport.get_extra_info("socket")
        if socket is None or self._transport.get_extra_info("ssl_object") is not None:
            # A TLS server sends session tickets without being asked.
            return True
        poll = select.poll()
        poll.register(socket.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    async def ask(self, target: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
        """Send a request and return the body of its answer.

        Raises:
            ConnectionError: if the connection ends before an answer begins.
            InvalidAnswerError: if the answer is invalid.
        """
        if not self.quiet or self._transport is None:
            raise ConnectionResetError("the connection was closed, or held unsolicited bytes")
        request = h11.Request(method="POST", target=target, headers=[*headers, ("Content-Length", str(len(body)))])
        self._asking = True
        parts = (self._http.send(part) or b"" for part in (request, h11.Data(data=body), h11.EndOfMessage()))
        self._transport.write(b"".join(parts))
        try:
            answer = await self._answer()
        except h11.RemoteProtocolError as error:
            # The error's own text may quote the answer.
            raise InvalidAnswerError("its answer is not valid HTTP, or incomplete") from error
        self._asking = False
        self.used_at = asyncio.get_running_loop().time()
        return answer

    async def _answer(self) -> bytes:
        body = bytearray()
        begun = False
        while True:
            match event := self._http.next_event():
                case h11.NEED_DATA:
                    if self._transport is None and not begun:
                        raise ConnectionResetError("the server closed the connection before it answered")
                    self._arrived.clear()
                    await self._arrived.wait()
                case h11.Response():
                    begun = True
                    _check_head(event)
                case h11.Data():
                    body += event.data
                    if len(body) > LONGEST_ANSWER:
                        raise InvalidAnswerError(f"an answer of more than {LONGEST_ANSWER} bytes")
                case h11.EndOfMessage():
                    return bytes(body)
                case h11.ConnectionClosed() | h11.PAUSED:
                    raise ConnectionResetError("the server closed the connection before it answered")
                case _:  # An informational answer, such as 100.
                    pass

    @property
    def more(self) -> bool:
        """Whether more bytes follow the answer."""
        return bool(self._http.trailing_data[0])

    def renew(self) -> bool:
        """Prepare for another question; False if the connection cannot be reused."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE or not self.quiet:
            return False
        self._http.start_next_cycle()
        return True


def _check_head(response: h11.Response) -> None:
    if not 200 <= response.status_code < 300:  # noqa: PLR2004 - the class of success
        raise InvalidAnswerError(f"it answered {response.status_code} {response.reason.decode('latin-1')}".strip())
    # A compressed answer could expand beyond the bound.
    if any(name == b"content-encoding" for name, _ in response.headers):
        raise InvalidAnswerError("an answer that is packed")


Connect = Callable[[], Awaitable[OpaConnection]]


class OpaClient:
    """Asks one endpoint, over at most `CONNECTIONS` connections at once.

    Args:
        url: the endpoint. A name and a password in it are sent as basic authentication.
        connect: opens a connection, by default over TCP, and TLS for `https`.

    Raises:
        CertificateError: if the authorities that the environment names cannot be used.
        ValueError: if the URL is not an HTTP one.
    """

    def __init__(self, url: str, connect: Connect | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("the URL of OPA must begin with http:// or https:// and name a host")
        self._host, self._port = parts.hostname, parts.port or _PORTS[parts.scheme]
        self._ssl: ssl.SSLContext | None = context_for(url, certifi.where()) if parts.scheme == "https" else None
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = [
            ("Host", parts.netloc.rpartition("@")[2]),
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),
        ]
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers.append(("Authorization", f"Basic {base64.b64encode(credentials).decode()}"))
        self._connect = connect or self._open
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: list[OpaConnection] = []

    async def ask(self, question: dict[str, Any], *, echoed: bool) -> dict[str, Any]:
        """Ask about an input, and return the answer's document.

        Args:
            question: the policy's `input`.
            echoed: whether the policy echoes `input.nonce`; then the connection is reused.

        Raises:
            OSError: if the server cannot be reached.
            InvalidAnswerError: if the answer is invalid.
            NoEchoError: if the answer does not echo the nonce.
            ValueError: if the question or the answer is not JSON.
        """
        async with self._slots:
            return await (self._ask_with_nonce(question) if echoed else self._ask_alone(question))

    async def _ask_alone(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask on a separate connection. More than one answer is an error: it is unknown which one is right."""
        body = _body(question)
        connection = await self._connect()
        try:
            answer = await connection.ask(self._target, [*self._headers, ("Connection", "close")], body)
            if connection.more:
                raise InvalidAnswerError("it sent more than one answer")
        finally:
            connection.close()
        return _document(answer)

    async def _ask_with_nonce(self, question: dict[str, Any]) -> dict[str, Any]:
        nonce = secrets.token_hex(8)
        body = _body({**question, "nonce": nonce})
        while True:
            idle = self._take()
            connection = idle or await self._connect()
            reusable = False
            try:
                answer = _document(await connection.ask(self._target, self._headers, body))
                result = answer.get("result")
                if not isinstance(result, dict) or result.get("nonce") != nonce:
                    raise NoEchoError("its answer does not hold the question's nonce")
                reusable = connection.renew()
            except ConnectionError:
                # A server may close an idle connection at any time; a question may be asked twice.
                if idle is None:
                    raise
                continue
            finally:
                if not reusable:
                    connection.close()
            self._idle.append(connection)
            return answer

    def _take(self) -> OpaConnection | None:
        """Return the idle connection that was used last. Close idle connections that are lost, old or not quiet."""
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        usable: list[OpaConnection] = []
        for connection in self._idle:
            if connection.used_at >= oldest and connection.quiet:
                usable.append(connection)
            else:
                connection.close()
        self._idle = usable
        return usable.pop() if usable else None

    async def _open(self) -> OpaConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(OpaConnection, self._host, self._port, ssl=self._ssl)
        return connection

    async def aclose(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop().close()


def _body(question: dict[str, Any]) -> bytes:
    # NaN and half a surrogate pair are not JSON: each raises ValueError.
    return json.dumps({"input": question}, ensure_ascii=False, allow_nan=False).encode()


def _document(answer: bytes) -> dict[str, Any]:
    document = from_json(answer)
    return document if isinstance(document, dict) else {}
