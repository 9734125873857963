"""A connection to OPA without a socket: what is written is read as HTTP, and answered by a function."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import h11
import httpx

from api.security.opa_connection import OpaConnection

Answer = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class Wire(asyncio.Transport):
    """The other end of one connection."""

    def __init__(self, connection: OpaConnection, answer: Answer) -> None:
        super().__init__()
        self._connection = connection
        self._answer = answer
        self._answering: asyncio.Task[None] | None = None
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take a whole request, and answer it in a while."""
        self._answering = asyncio.create_task(self._respond(_request(bytes(data))))

    async def _respond(self, request: httpx.Request) -> None:
        result = self._answer(request)
        response = result if isinstance(result, httpx.Response) else await result
        head = f"HTTP/1.1 {response.status_code} {response.reason_phrase}\r\n".encode()
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"transfer-encoding"]
        head += b"".join(b"%b: %b\r\n" % header for header in headers)
        self._connection.data_received(head + b"\r\n")
        async for part in cast("Any", response.stream):
            if self.closed:
                return
            self._connection.data_received(part)
            await asyncio.sleep(0)
        self._connection.eof_received()

    def abort(self) -> None:
        """End the connection."""
        self.closed = True
        if self._answering is not None:
            self._answering.cancel()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401, ARG002 - asyncio's
        """Tell of no socket."""
        return default


def connecting(answer: Answer) -> Callable[[], Awaitable[OpaConnection]]:
    """Return what opens a connection whose questions are answered so."""

    async def connect() -> OpaConnection:
        connection = OpaConnection()
        connection.connection_made(Wire(connection, answer))
        return connection

    return connect


def _request(data: bytes) -> httpx.Request:
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    head, body = server.next_event(), bytearray()
    assert isinstance(head, h11.Request)
    while isinstance(part := server.next_event(), h11.Data):
        body += part.data
    assert isinstance(part, h11.EndOfMessage)
    host = next(value for name, value in head.headers if name == b"host").decode()
    url = f"http://{host}{head.target.decode()}"
    return httpx.Request(head.method.decode(), url, headers=list(head.headers), content=bytes(body))
