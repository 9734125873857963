"""A client of one Redis server whose calls share a connection.

Each call writes its commands at once, and the answers come in the order of the commands. redis-py gives each call a
connection of its own from a pool, which takes several times as much processor time as the call itself.

A call that is cut off leaves its answer on the way. Later calls then get a new connection, since the server may hang.
Calls that still wait on the old connection get their answers from it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from schemas.errors import describe
from schemas.redis.client import connect
from schemas.running_timeout import running_timeout
from schemas.settings import Settings
from schemas.tasks import end_tasks

CONNECT_SECONDS: Final = 1.0
"""How long a connection may take to be made, with its authentication."""

Command = tuple[Any, ...]


class SharedRedis(Redis):
    """The client.

    Attributes:
        seconds: how long an answer may take, None if each caller limits that itself.
        resends: whether a call that a broken connection ends is sent once more, on a new one. It may then have been
            carried out twice.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - as redis-py has them
        seconds: float | None = None,
        resends: bool = True,
        **options: Any,  # noqa: ANN401 - as above
    ) -> None:
        super().__init__(*arguments, **options)
        self.seconds = seconds
        self.resends = resends
        self._link: _Link | None = None
        self._links: set[_Link] = set()
        self._opening: asyncio.Task[_Link] | None = None
        self._is_closed = False

    @classmethod
    def open(
        cls, settings: Settings, *, retry: Retry, seconds: float | None = None, resends: bool = True
    ) -> "SharedRedis":
        """Return a client of a single server; it connects when first used.

        Args:
            settings: name the server.
            retry: how a connection that cannot be made is tried again.
            seconds: see `SharedRedis`.
            resends: see `SharedRedis`.
        """
        pool = connect(settings, seconds=None, retry=retry).connection_pool  # type: ignore[union-attr]  # no cluster's
        client = cls(connection_pool=pool, seconds=seconds, resends=resends)
        client.auto_close_connection_pool = True
        return client

    async def execute_command(self, *command: Any, **options: Any) -> Any:  # noqa: ANN401 - each command has its own
        """Return the answer to a command, as redis-py does."""
        options.pop("keys", None)  # for redis-py's cache
        [answer] = await self.ask([command], **options)
        return answer

    def pipeline(self, transaction: bool = False, shard_hint: str | None = None) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002 - as redis-py has it
        """Return commands to be sent together. There are no transactions: other calls may come between."""
        if transaction:
            msg = "calls of others come between, so there are no transactions here: write a script"
            raise NotImplementedError(msg)
        return _Pipeline(self)

    async def ask(self, commands: Sequence[Command], **options: Any) -> list[Any]:  # noqa: ANN401 - as redis-py has them
        """Send commands together and return their answers.

        Raises:
            RedisError: the first error among the answers; or if the connection broke for the last time, or cannot be
                made.
            TimeoutError: if the server does not accept the connection in time, or does not answer in time.
        """
        if self.seconds is None:
            answers = await self._answers(commands)
        else:
            async with running_timeout(self.seconds):
                answers = await self._answers(commands)
        return [self._parsed(command[0], answer, options) for command, answer in zip(commands, answers, strict=True)]

    async def _answers(self, commands: Sequence[Command]) -> list[Any]:
        # redis-py has names of two words.
        packed = b"".join(pack_command((*name.split(), *arguments)) for name, *arguments in commands)
        try:
            return await (await self._open_link()).ask(packed, len(commands))
        except RedisConnectionError:
            if not self.resends:
                raise
        return await (await self._open_link()).ask(packed, len(commands))

    def _parsed(self, name: str, answer: Any, options: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
        if isinstance(answer, ResponseError):
            raise answer
        callback = self.response_callbacks.get(name)
        return answer if callback is None else callback(answer, **options)

    async def _open_link(self) -> "_Link":
        if self._is_closed:
            msg = "the client is closed"
            raise RedisConnectionError(msg)
        if self._link is not None and self._link.is_open:
            return self._link
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(_retrieve)
        try:
            # The others that wait for this connection do not end with this call.
            return await asyncio.shield(self._opening)
        except asyncio.CancelledError:
            if self._has_closed_for(asyncio.current_task()):
                raise RedisConnectionError("the client is closed") from None
            raise

    def _has_closed_for(self, caller: "asyncio.Task[Any] | None") -> bool:
        """Tell whether a call was cancelled by `aclose`, and not by whoever waits for the call."""
        return self._is_closed and not (caller is not None and caller.cancelling())

    async def _connect(self) -> "_Link":
        connection: Connection = self.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
        try:
            async with running_timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._link = link = _Link(connection)
        self._links.add(link)
        link.reading.add_done_callback(lambda _: self._links.discard(link))
        return link

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - as redis-py has it
        """Close every connection. Calls that still wait fail, and so do later ones."""
        self._is_closed = True
        tasks: list[asyncio.Task[Any]] = [link.reading for link in self._links]
        if self._opening is not None:
            tasks.append(self._opening)
        await end_tasks(tasks, seconds=CONNECT_SECONDS)
        await super().aclose(close_connection_pool)


class _Pipeline:
    """Commands that are sent together."""

    def __init__(self, client: SharedRedis) -> None:
        self._client = client
        self._commands: list[Command] = []

    def execute_command(self, *command: Any) -> None:  # noqa: ANN401 - each command has its own
        self._commands.append(command)

    async def execute(self) -> list[Any]:
        commands, self._commands = self._commands, []
        return await self._client.ask(commands)


class _Link:
    """One connection, and the calls that wait for an answer from it, in their order.

    Attributes:
        is_open: whether it takes further calls.
        reading: the task that reads answers until the connection ends.
    """

    def __init__(self, connection: Connection) -> None:
        self.is_open = True
        self._connection = connection
        self._due: deque[asyncio.Future[Any]] = deque()
        self.reading = asyncio.create_task(self._read())

    async def ask(self, packed: bytes, number: int) -> list[Any]:
        """Send commands and return their answers, errors of the server among them.

        Raises:
            RedisConnectionError: if the connection broke.
        """
        self._write(packed)
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(number)]
        self._due += answers
        try:
            return [await answer for answer in answers]
        except asyncio.CancelledError:
            for answer in answers:
                answer.cancel()
            self.is_open = False
            if not self._is_awaited():
                self.reading.cancel()
            raise

    def _write(self, packed: bytes) -> None:
        """Hand bytes to the operating system, or to the loop while that takes no more.

        redis-py would wait until they are gone, and close the connection of all calls if one is cut off meanwhile.
        Nothing is gained by that wait: each call waits for its answer, and there is a bounded number of calls.

        Raises:
            RedisConnectionError: if the connection is closed, or does not take them.
        """
        writer: asyncio.StreamWriter | None = self._connection._writer  # noqa: SLF001 - see above
        if not self.is_open or writer is None:
            raise RedisConnectionError("the connection was closed")
        try:
            writer.write(packed)
        except Exception as error:  # an OSError, or a RuntimeError of uvloop
            self.is_open = False
            self.reading.cancel()
            raise RedisConnectionError(describe(error)) from error

    def _is_awaited(self) -> bool:
        return any(not answer.done() for answer in self._due)

    async def _read(self) -> None:
        failure: Exception = RedisConnectionError("the connection was closed by this process")
        try:
            while self.is_open or self._is_awaited():
                try:
                    answer = await self._connection.read_response(disable_decoding=True)
                except ResponseError as error:
                    answer = error
                due = self._due.popleft()
                if not due.done():
                    due.set_result(answer)
        except RedisConnectionError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever ends the reader breaks the connection
            failure = RedisConnectionError(describe(error))
        finally:
            self.is_open = False
            for due in self._due:
                if not due.done():
                    due.set_exception(type(failure)(*failure.args))
                    due.exception()  # A caller that has gone does not retrieve it.
            await self._connection.disconnect(nowait=True)


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Retrieve a failure that no call waits for any more."""
    if not task.cancelled():
        task.exception()
