"""One answer at a time: a request waits until the answer before its own was taken, and reading waits with it.

uvicorn parses whatever comes and queues every request behind the one in hand. Here bytes are parsed up to the end of
one head at a time. Once a request waits, the rest of the bytes waits unparsed, and the socket is not read.
"""

import socket
from asyncio import TimerHandle, Transport
from typing import Any, Final, cast

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from schemas.http.answers import Account, Answers, client_of
from schemas.http.connections import Connections
from schemas.http.counted import Counted

WRITE_SECONDS: Final = 30.0
"""How long a caller may leave an answer unread before the connection is cut off."""
KERNEL_BYTES: Final = 32_768
"""How much the kernel is asked to hold for a connection, each way; it takes twice that for its own needs.

By itself it would take 4 MB of answers that nobody reads. 64 KiB in flight are 6 Mbit/s over a way of 80 ms.
"""


class _Flow(FlowControl):
    """uvicorn's, whose cycles resume reading at will, with a hold that they cannot undo."""

    held = False

    def resume_reading(self) -> None:
        """Read on, unless a request waits."""
        if not self.held:
            super().resume_reading()

    def hold(self, *, held: bool) -> None:
        """Stop to read until the hold is over."""
        self.held = held
        if held:
            self.pause_reading()
        else:
            self.resume_reading()


class PacedHttp(HttpToolsProtocol):
    """One connection: at most one request in hand, one or two that wait, and one answer under way.

    Args:
        config: as uvicorn's.
        server_state: as uvicorn's.
        app_state: as uvicorn's.
        _loop: as uvicorn's.
        answers: the bytes under way, shared by the connections of a server; by default the connection's own.
        connections: those of the server; by default this one alone.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: Any = None,  # noqa: ANN401 - as uvicorn's
        *,
        answers: Answers | None = None,
        connections: Connections | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._answers = answers or Answers()
        self._connections = connections or Connections(1, 1)
        self._serving: RequestResponseCycle | None = None
        self._write_timer: TimerHandle | None = None
        self._waiting = b""
        """Bytes that are not parsed yet."""
        self._last_answer: bytes | None = None
        """What is said once every request before was answered, and ends the connection."""

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn itself
        """Begin to count, from the first byte that the kernel does not take."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                connection.setsockopt(socket.SOL_SOCKET, buffer, KERNEL_BYTES)
        self.flow = _Flow(transport)
        transport.set_write_buffer_limits(high=0)
        client = client_of(self.client)
        self._account = Account(self._answers, client)
        self._place = self._connections.enter(client, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what waits and what is under way: nobody is there for it."""
        self._written()
        self.pipeline.clear()
        self._waiting = b""
        super().connection_lost(exc)
        self._account.close()
        self._place.leave()

    def pause_writing(self) -> None:
        """Begin to wait until the caller has taken all that was written."""
        self._count()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on with the request that waited: the caller has taken what was written."""
        self._written()
        self._count()
        super().resume_writing()
        if self.pipeline and not self._in_hand and not self.transport.is_closing():
            self._start_asgi_task(*self.pipeline.pop())
        self._go_on()

    def on_response_complete(self) -> None:
        """Go on with the request that waits, if the answer was taken at once."""
        super().on_response_complete()
        self._go_on()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Serve a request, unless the answer before its own is unread."""
        if self.flow.write_paused:
            self.pipeline.append((cycle, app))
        else:
            self._serving = cycle
            super()._start_asgi_task(cycle, Counted(app, cycle, self._account))

    def _go_on(self) -> None:
        """Parse bytes that waited, and read on once no request waits."""
        if self._last_answer is not None:
            self._end_with(self._last_answer)
        elif self._waiting and not self.pipeline and not self.transport.is_closing():
            self.data_received(b"")
        self._hold()

    def _end_with(self, answer: bytes) -> None:
        """Read no more, and close with an answer of our own, once every request before was answered."""
        self._last_answer = answer
        self._waiting = b""
        if not self.pipeline and not self._in_hand and not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def _has_ended(self) -> bool:
        """Whether nothing that comes now is read."""
        return self._last_answer is not None or self.transport.is_closing()

    def _hold(self) -> None:
        """Let the socket be read only while no request waits."""
        waits = self.pipeline or self._waiting or self._last_answer is not None
        cast("_Flow", self.flow).hold(held=bool(waits))

    @property
    def _in_hand(self) -> bool:
        return self._serving is not None and not self._serving.response_complete

    def _count(self) -> None:
        self._account.set(self.transport.get_write_buffer_size())

    def _written(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
