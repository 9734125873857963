"""One connection to Redis on which calls wait for their answers, in their order.

redis-py makes the connection. Then this protocol takes its place and reads the answers. A reader of redis-py is a task
that wakes up for each answer and calls through seven layers, which took more processor time than the rest of a call.

One timer limits the time of all calls, since answers come in the order of the calls. A timer for each call would be
made and cancelled a thousand times for one that goes off.
"""

import asyncio
from collections import deque
from typing import Any, Final

from hiredis import Reader
from redis._parsers import BaseParser
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.errors import describe
from schemas.running_timeout import STEPS

_NOTHING: Final = object()


class _Call:
    """Commands that were sent together.

    Attributes:
        answers: those that have come.
        whole: done once all have come.
        last_tick: the tick of the connection's timer that ends the wait.
    """

    __slots__ = ("answers", "last_tick", "number", "whole")

    def __init__(self, number: int, last_tick: int) -> None:
        self.number = number
        self.answers: list[Any] = []
        self.whole: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.last_tick = last_tick


class Link(asyncio.Protocol):
    """One connection, and the calls that wait for an answer from it, in their order.

    Args:
        connection: is connected, and reads nothing any more.
        seconds: how long an answer may take, None if each caller limits that itself. A loop that stands still counts
            for at most a tenth, as in `running_timeout`.

    Attributes:
        is_open: whether it takes further calls.
        serving: the task that lives as long as the connection, and closes it.
    """

    def __init__(self, connection: Connection, seconds: float | None = None) -> None:
        self.is_open = True
        self._connection = connection
        self._due: deque[_Call] = deque()
        self._step = None if seconds is None else seconds / STEPS
        self._tick = 0
        self._timer: asyncio.TimerHandle | None = None
        self._broken: asyncio.Future[RedisConnectionError] = asyncio.get_running_loop().create_future()
        self._reader = Reader(replyError=BaseParser.parse_error, notEnoughData=_NOTHING)
        self._transport: asyncio.Transport = connection._writer.transport  # type: ignore[assignment,union-attr]  # noqa: SLF001 - redis-py gives no other way
        self._transport.set_protocol(self)
        self.serving = asyncio.create_task(self._serve())

    async def ask(self, packed: bytes, number: int) -> list[Any]:
        """Send commands and return their answers, errors of the server among them.

        Raises:
            RedisConnectionError: if the connection broke.
            TimeoutError: if the answers do not come in time.
        """
        self._write(packed)
        call = _Call(number, self._tick + STEPS)
        self._due.append(call)
        if self._timer is None and self._step is not None:
            self._timer = asyncio.get_running_loop().call_later(self._step, self._pass)
        try:
            return await call.whole
        except (asyncio.CancelledError, TimeoutError):
            self.is_open = False
            if not self._is_awaited():
                self.serving.cancel()
            raise

    def _write(self, packed: bytes) -> None:
        """Hand bytes to the operating system, or to the loop while that takes no more.

        Nothing is gained by a wait until they are gone: each call waits for its answer, and there is a bounded number
        of calls.

        Raises:
            RedisConnectionError: if the connection is closed, or does not take them.
        """
        if not self.is_open:
            raise RedisConnectionError("the connection was closed")
        try:
            self._transport.write(packed)
        except Exception as error:  # an OSError, or a RuntimeError of uvloop
            self.is_open = False
            self.serving.cancel()
            raise RedisConnectionError(describe(error)) from error

    def data_received(self, data: bytes) -> None:
        """Give each answer to the call that waits for it.

        An answer that nobody asked for breaks the connection: else each later call would get the answer before its own.
        So does an error that redis-py counts as one of the connection, such as that of a server that loads its data.
        """
        if self._broken.done():
            return  # The answer that broke it belongs to a call, so the next one would go to the wrong call.
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOTHING:
                self._take(answer)
        except RedisConnectionError as error:
            self._break(error)
        except Exception as error:  # noqa: BLE001 - whatever ends the reading breaks the connection
            self._break(RedisConnectionError(describe(error)))
        else:
            if not self.is_open and not self._is_awaited():
                self._break(RedisConnectionError("the connection was closed by this process"))

    def _take(self, answer: Any) -> None:  # noqa: ANN401 - each command has its own
        if isinstance(answer, RedisConnectionError):
            raise answer
        call = self._due[0]
        call.answers.append(answer)
        if len(call.answers) == call.number:
            self._due.popleft()
            if not call.whole.done():
                call.whole.set_result(call.answers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the server, or the way to it, has ended the connection."""
        self._break(RedisConnectionError("Connection closed by server." if exc is None else describe(exc)))

    def _pass(self) -> None:
        """Count a step of time, and end the calls that have waited for all of theirs."""
        self._tick += 1
        self._timer = None
        for call in self._due:
            if call.whole.done():
                continue
            if call.last_tick >= self._tick:
                assert self._step is not None  # noqa: S101 - there is a timer
                self._timer = asyncio.get_running_loop().call_later(self._step, self._pass)
                return
            call.whole.set_exception(TimeoutError())

    def _is_awaited(self) -> bool:
        return any(not call.whole.done() for call in self._due)

    def _break(self, failure: RedisConnectionError) -> None:
        self.is_open = False
        if not self._broken.done():
            self._broken.set_result(failure)

    async def _serve(self) -> None:
        """Wait until the connection breaks, or is ended; then tell the calls that still wait, and close it."""
        failure = RedisConnectionError("the connection was closed by this process")
        try:
            failure = await self._broken
        finally:
            self.is_open = False
            if self._timer is not None:
                self._timer.cancel()
            for call in self._due:
                if not call.whole.done():
                    call.whole.set_exception(type(failure)(*failure.args))
                    call.whole.exception()  # A caller that has gone does not retrieve it.
            await self._connection.disconnect(nowait=True)
