"""A connection of the gate that sends no whole request."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from sleep_client.gate.connection import PromptConnection

REQUEST = b"GET /gate HTTP/1.1\r\nHost: gate\r\n\r\n"


class Transport(asyncio.Transport):
    """Notes what is written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001 - as ASGI has it
    """Answer 200."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Connection:
    """A connection, and its timers, which only the test lets pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.timers: list[tuple[Callable[[], None], asyncio.TimerHandle]] = []

        def later(_: float, function: Callable[[], None]) -> asyncio.TimerHandle:
            handle = asyncio.TimerHandle(0.0, function, (), loop)
            self.timers.append((function, handle))
            return handle

        monkeypatch.setattr(loop, "call_later", later)
        config = Config(cast("Any", app), log_config=None, lifespan="off", http=PromptConnection)
        config.load()
        self.transport = Transport()
        self.protocol = PromptConnection(config=config, server_state=ServerState(), app_state={}, _loop=loop)
        self.protocol.connection_made(self.transport)

    def closed(self) -> bool:
        """Whether the gate has closed it."""
        return self.transport.is_closing()

    async def send(self, data: bytes) -> None:
        """Send bytes, and let the application answer."""
        self.protocol.data_received(data)
        for _ in range(10):
            await asyncio.sleep(0)

    def look(self) -> None:
        """Let the time pass until the next look."""
        function, _ = [timer for timer in self.timers if timer[0] == self.protocol._look][-1]  # noqa: SLF001 - see above
        function()

    def lose(self) -> None:
        """Lose the connection."""
        self.protocol.connection_lost(None)


@pytest.fixture
async def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection that was just opened."""
    return Connection(monkeypatch)


@pytest.mark.parametrize("sent", [b"", b"GET /gate HTTP/1.1\r\nHost:"])
async def test_a_connection_without_a_whole_request_is_closed(connection: Connection, sent: bytes) -> None:
    """At the second look."""
    if sent:
        await connection.send(sent)
    connection.look()
    assert not connection.closed()
    connection.look()
    assert connection.closed()
    connection.lose()


async def test_so_is_one_that_sends_a_part_after_an_answer(connection: Connection) -> None:
    """Without a part it is uvicorn's to close."""
    await connection.send(REQUEST)
    assert connection.transport.written.startswith(b"HTTP/1.1 200")
    connection.look()
    connection.look()
    assert not connection.closed()
    await connection.send(b"GET")
    connection.look()
    assert connection.closed()
    connection.lose()


async def test_a_connection_that_sends_requests_stays(connection: Connection) -> None:
    """However long."""
    for _ in range(4):
        await connection.send(REQUEST)
        await connection.send(b"GET /ga")
        connection.look()
        await connection.send(REQUEST.removeprefix(b"GET /ga"))
    assert not connection.closed()
    assert connection.transport.written.count(b"HTTP/1.1 200") == 8
    connection.lose()


async def test_nothing_is_looked_at_after_the_end(connection: Connection) -> None:
    """The timer ends with the connection."""
    connection.lose()
    assert connection.timers[-1][1].cancelled()
