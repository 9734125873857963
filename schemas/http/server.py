"""uvicorn, run from code and stopped from code, for worker and API."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple, cast

import uvicorn
from uvicorn.lifespan.on import LifespanOn, LifespanSendMessage

from schemas.http.connection import http_protocol
from schemas.http.connections import Connections
from schemas.http.pages import Pages
from schemas.settings import Settings

_BACKLOG: Final = 2048


def listen(settings: Settings, port: Literal["api_port", "worker_metrics_port"]) -> socket.socket:
    """Return a socket that takes connections; port 0 takes a free port.

    Args:
        settings: the settings, with the address.
        port: which of their ports.

    Raises:
        OSError: if the address cannot be bound.
    """
    address = settings.api_host, getattr(settings, port)
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        host, number = address
        reason = (
            f"port {number} of {host} cannot be bound (SLEEP_API_HOST, SLEEP_{port.upper()}): {error.strerror or error}"
        )
        raise OSError(reason) from None


class Member(NamedTuple):
    """What makes a process one of several of a command, which serve one address.

    Attributes:
        listener: where connections come in. Each member accepts from it.
        pages_of_all: takes the member's own pages, and returns those about all members.
    """

    listener: socket.socket
    pages_of_all: Callable[[Pages], Pages]


class HttpServer(uvicorn.Server):
    """Serves an application on a socket until `stop`.

    Args:
        app: the application (ASGI).
        listener: where connections come in; closed at the end.
        connections: the bounds of their number.
        lifespan: whether the application has a start and an end.
        stop_seconds: how long requests in hand may take after `stop`.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        listener: socket.socket,
        connections: Connections,
        *,
        lifespan: Literal["on", "off"],
        stop_seconds: int,
    ) -> None:
        super().__init__(
            ServerConfig(
                app,
                loop="none",
                http=http_protocol(connections),
                ws="none",
                lifespan=lifespan,
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=stop_seconds,
            )
        )
        self._listener = listener

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the entry point."""
        yield

    async def run_until_stopped(self) -> None:
        """Serve, and end with the last request in hand, or `stop_seconds` after `stop`."""
        await self.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Take no more connections, and end."""
        self.should_exit = True


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with a lifespan that may be cancelled."""

    def load(self) -> None:
        """Load what the configuration names, and our own lifespan."""
        super().load()
        if self.lifespan == "on":
            self.lifespan_class = _Lifespan


class _Lifespan(LifespanOn):
    async def send(self, message: LifespanSendMessage) -> None:
        """Take the application's report of its start or end, without the traceback of a cancelled one."""
        task = asyncio.current_task()
        if message["type"].endswith(".failed") and task is not None and task.cancelling():
            message = cast("LifespanSendMessage", {"type": message["type"]})
        await super().send(message)
