"""A TCP relay between a client and a server that makes each answer take longer: a slow server, no wrong one."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from tests.services.probe import LOOPBACK

CHUNK_BYTES = 1 << 16
# Below the 5 s after which a worker takes an answer for lost: one that never comes is another fault than a late one.
MOST_SECONDS = 2.0


class Relay:
    """Passes bytes on unchanged; an answer takes `slower` times as long as the server took for it, or `late` seconds.

    No answer is held back for more than 2 seconds.

    Attributes:
        port: where clients connect.
        slower: how many times as long.
        late: how many seconds more at the least.
        longest: the longest that an answer took in the end, in seconds.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.slower = 1.0
        self.late = 0.0
        self.longest = 0.0
        self._to = host, port
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, host: str, port: int) -> AsyncIterator["Relay"]:
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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        exchange = _Exchange()
        for task in (
            asyncio.create_task(self._ask(reader, back, exchange)),
            asyncio.create_task(self._answer(there, writer, exchange)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, exchange: "_Exchange") -> None:
        with _closing(target):
            while chunk := await source.read(CHUNK_BYTES):
                exchange.asked = time.monotonic()
                exchange.answered = False
                target.write(chunk)
                await target.drain()

    async def _answer(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, exchange: "_Exchange") -> None:
        with _closing(target):
            while chunk := await source.read(CHUNK_BYTES):
                # What follows of the same answer is on its way already.
                if not exchange.answered:
                    exchange.answered = True
                    took = time.monotonic() - exchange.asked
                    await asyncio.sleep(min(max((self.slower - 1) * took, self.late), MOST_SECONDS))
                    self.longest = max(self.longest, time.monotonic() - exchange.asked)
                target.write(chunk)
                await target.drain()


class _Exchange:
    """When something was last asked on a connection, and whether its answer has begun."""

    asked = 0.0
    answered = True


@contextmanager
def _closing(target: asyncio.StreamWriter) -> Iterator[None]:
    try:
        with suppress(OSError):
            yield
    finally:
        target.close()
