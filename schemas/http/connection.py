"""What a server takes for its connections: a read buffer of a known size in front of the protocol."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from schemas.http.answers import Answers
from schemas.http.connections import Connections
from schemas.http.protocol import BoundedHttp

READ_BYTES: Final = 16_384
"""How much is read at once, and so how much of a connection waits unparsed; event loops read 256 KiB by themselves."""


class Connection(asyncio.BufferedProtocol):
    """Reads at most `READ_BYTES` at once into a buffer that lives no longer than the read.

    A class of its own, since uvloop takes nothing that is a `Protocol` for a `BufferedProtocol`.

    Args:
        make: returns the protocol, from the arguments of uvicorn.
        more: these arguments.
    """

    def __init__(self, make: Callable[..., BoundedHttp], **more: Any) -> None:  # noqa: ANN401 - uvicorn's
        self._http = make(**more)
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass it on."""
        self._http.connection_made(cast("asyncio.Transport", transport))

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._http.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - as much as was left of it, or anything
        """Return where the next bytes are put."""
        self._buffer = bytearray(READ_BYTES)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read."""
        data, self._buffer = bytes(memoryview(self._buffer)[:nbytes]), bytearray()
        self._http.data_received(data)

    def eof_received(self) -> None:
        """Pass it on; the connection closes then."""
        self._http.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._http.resume_writing()


def http_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """Return what uvicorn's configuration takes as `http`; the connections of one server share their `Answers`.

    Args:
        connections: those of the server.
    """
    make = partial(BoundedHttp, answers=Answers(), connections=connections)
    return cast("type[asyncio.Protocol]", partial(Connection, make))
