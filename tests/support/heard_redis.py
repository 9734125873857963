"""A TCP relay before a Redis: it remembers what is asked, and can take Redis away at an exact moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from hiredis import Reader

from tests.services.probe import LOOPBACK

CHUNK_BYTES = 1 << 16


class HeardRedis:
    """Passes commands and answers on unchanged.

    Attributes:
        port: where clients connect.
        commands: what was asked so far, each with its arguments.
        cut_after: once a command that names this was answered, every connection is closed, and each new one too, until
            this is None again.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.commands: list[list[bytes]] = []
        self.cut_after: bytes | None = None
        self._is_cut = False
        self._to = host, port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, host: str, port: int) -> AsyncIterator["HeardRedis"]:
        """Relay to this address; afterwards every connection is closed."""
        relay = cls(host, port)
        server = await asyncio.start_server(relay._serve, LOOPBACK, 0)
        relay.port = server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            server.close()
            for task in relay._tasks:
                task.cancel()
            await asyncio.gather(*relay._tasks, return_exceptions=True)

    def about(self, name: str) -> list[list[bytes]]:
        """Return the commands with an argument that contains this name."""
        return [command for command in self.commands if any(name.encode() in word for word in command)]

    def mend(self) -> None:
        """Let clients connect again."""
        self.cut_after, self._is_cut = None, False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        there, back = await asyncio.open_connection(*self._to)
        self._writers |= {writer, back}
        for task in (
            asyncio.create_task(self._pass(reader, back, Reader())),
            asyncio.create_task(self._pass(there, writer, None)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, asked: Reader | None) -> None:
        try:
            with suppress(OSError):
                while chunk := await source.read(CHUNK_BYTES):
                    if asked is not None:
                        self._hear(asked, chunk)
                    target.write(chunk)
                    await target.drain()
                    if asked is None:
                        self._cut_if_due()
        finally:
            self._writers.discard(target)
            target.close()

    def _hear(self, asked: Reader, chunk: bytes) -> None:
        asked.feed(chunk)
        while (command := asked.gets()) is not False:
            self.commands.append(command)

    def _cut_if_due(self) -> None:
        if self.cut_after is not None and self.about(self.cut_after.decode()):
            self._is_cut = True
            for writer in self._writers:
                writer.close()
