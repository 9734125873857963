"""A client of one Redis server whose calls share a connection.

Each call writes its commands at once, and the answers come in the order of the commands. redis-py gives each call a
connection of its own from a pool, which takes several times as much processor time as the call itself.

A call that is cut off leaves its answer on the way. Later calls then get a new connection, since the server may hang.
Calls that still wait on the old connection get their answers from it.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from hiredis import pack_command
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from schemas.redis.client import connect
from schemas.redis.link import Link
from schemas.running_timeout import STEPS, running_timeout
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
        self._link: Link | None = None
        self._links: set[Link] = set()
        self._opening: asyncio.Task[Link] | None = None
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
        if not commands:
            return []
        # redis-py has names of two words.
        packed = b"".join([pack_command((*name.split(), *arguments)) for name, *arguments in commands])
        answers = await self._answers(packed, len(commands))
        return [self._parsed(command[0], answer, options) for command, answer in zip(commands, answers, strict=True)]

    async def _answers(self, packed: bytes, number: int) -> list[Any]:
        link, sends = self._link, 2 if self.resends else 1
        begun = asyncio.get_running_loop().time()
        if link is not None and link.is_open:
            try:
                # The connection limits the time.
                return await link.ask(packed, number)
            except RedisConnectionError:
                sends -= 1
                if not sends:
                    raise
        if self.seconds is None:
            return await self._answers_of_new(packed, number, sends)
        # What a broken connection has taken is not waited for a second time.
        left = self.seconds - (asyncio.get_running_loop().time() - begun)
        async with running_timeout(max(left, self.seconds / STEPS)):
            return await self._answers_of_new(packed, number, sends)

    async def _answers_of_new(self, packed: bytes, number: int, sends: int) -> list[Any]:
        """Return the answers from a connection that may have to be made first, and if it breaks, from another."""
        while True:
            sends -= 1
            try:
                return await (await self._open_link()).ask(packed, number)
            except RedisConnectionError:
                if not sends:
                    raise

    def _parsed(self, name: str, answer: Any, options: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
        if isinstance(answer, ResponseError):
            raise answer
        callback = self.response_callbacks.get(name)
        return answer if callback is None else callback(answer, **options)

    async def _open_link(self) -> Link:
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

    async def _connect(self) -> Link:
        connection: Connection = self.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py
        try:
            async with running_timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._link = link = Link(connection, self.seconds)
        self._links.add(link)
        link.serving.add_done_callback(lambda _: self._links.discard(link))
        return link

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - as redis-py has it
        """Close every connection. Calls that still wait fail, and so do later ones."""
        self._is_closed = True
        tasks: list[asyncio.Task[Any]] = [link.serving for link in self._links]
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


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """Retrieve a failure that no call waits for any more."""
    if not task.cancelled():
        task.exception()
