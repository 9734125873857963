"""The other end of a connection, and a loop whose timers go off on demand, for tests of the protocol."""

import asyncio
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from schemas.http.answers import Answers
from schemas.http.protocol import HEAD_SECONDS, BoundedHttp


class Wire:
    """A transport that remembers what was written, and whose other end may stop to take it.

    Attributes:
        written: all that was written.
        room: how many bytes the other end takes before it stops to.
        paused: whether reading is paused.
    """

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = False
        self.room: float = math.inf
        self.paused = False
        self._protocol: BoundedHttp | None = None
        self._unsent = 0

    def get_extra_info(self, _: str) -> None:
        return None

    def attach(self, protocol: BoundedHttp) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data
        sent = 0 if self._unsent else int(min(self.room, len(data)))
        self.room -= sent
        before, self._unsent = self._unsent, self._unsent + len(data) - sent
        if self._unsent and not before and self._protocol is not None:
            self._protocol.pause_writing()

    def take(self, room: float = math.inf) -> None:
        """Take all that was written, as the other end would, and after it so many bytes."""
        self.room = room
        unsent, self._unsent = self._unsent, 0
        if unsent and self._protocol is not None:
            self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_protocol(self, _: object) -> None: ...


class Loop:
    """A loop whose timers go off when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def call_later(self, seconds: float, callback: Any, *_: Any) -> Any:  # noqa: ANN401 - as the loop's own
        timer = SimpleNamespace(seconds=seconds, callback=callback, cancelled=False)
        timer.cancel = lambda: setattr(timer, "cancelled", True)
        self.timers.append(timer)
        return timer

    def create_task(self, coroutine: Any, **_: Any) -> Any:  # noqa: ANN401 - as the loop's own
        return asyncio.get_running_loop().create_task(coroutine)

    def expire(self, seconds: float = HEAD_SECONDS) -> None:
        """Let every timer of this length go off that was not cancelled; by default those for a head."""
        for timer in self.timers:
            if timer.seconds == seconds and not timer.cancelled:
                timer.callback()


def connect(wire: Wire, app: Any, answers: Answers | None = None) -> tuple[BoundedHttp, Loop]:  # noqa: ANN401 - ASGI
    """Return a connection to an application, and the loop of its timers; `answers` are shared by a server's."""
    config = uvicorn.Config(app, loop="none", ws="none", lifespan="off", log_config=None)
    config.load()
    loop = Loop()
    protocol = BoundedHttp(config, ServerState(), {"headers": []}, loop, answers=answers)
    wire.attach(protocol)
    protocol.connection_made(wire)  # type: ignore[arg-type]
    return protocol, loop


async def send(protocol: BoundedHttp, pieces: Sequence[bytes]) -> None:
    """Hand bytes over piece by piece, and let the application work after each."""
    for piece in pieces:
        if protocol.transport.is_closing():
            return
        protocol.data_received(piece)
        await settle()


async def settle() -> None:
    """Let the application do all that it can."""
    for _ in range(10):
        await asyncio.sleep(0)
