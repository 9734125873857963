"""One API process: uvicorn, run from code and stopped by an event."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog
import uvicorn

from api.app import create_app, wire
from api.door.protocol import BoundedHttp
from api.stream.streams import ABORT
from schemas.settings import Settings

DRAIN_SECONDS: Final = 1.0
"""How long a stopping process goes on serving while it says that it is not ready, so that balancers turn away first.

A caller that waits gets its answer if it comes in this time, and 202 after it.
"""
STOP_SECONDS: Final = 10
"""How long requests in hand may take after that."""
_BACKLOG: Final = 2048
FILES: Final = 65_536
"""Open files that are asked for: streams, callers, and connections to what the API depends on."""

log = structlog.get_logger(__name__)


class Ready(asyncio.Event):
    """Set once the API serves; `url` then says where, with the port that port 0 became."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the entry point."""
        yield


class _Protocol(BoundedHttp):
    def on_message_begin(self) -> None:
        """Let a stream cut off a client that does not read: closing would wait for it."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: self.transport.abort}  # type: ignore[dict-item]  # an extension of ours


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
    drain: float = DRAIN_SECONDS,
    embedded: bool = False,
) -> None:
    """Serve until `stop` is set.

    Args:
        settings: host and port among them; port 0 takes a free one.
        stop: begins a graceful stop, which takes at most `drain`, `STOP_SECONDS` and a little.
        ready: set once requests are served and each dependency was tried, whether or not it answered;
            a `Ready` is told where.
        drain: seconds of service while already unready.
        embedded: whether Redis is to survive nothing.

    Raises:
        SettingsError: if a setting that the API needs is absent.
        OSError: if the address cannot be bound.
    """
    raise_file_limit()
    wiring = wire(settings, embedded=embedded)
    listener = _listen(settings.api_host, settings.api_port)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    server = _Server(
        uvicorn.Config(
            create_app(wiring),
            loop="none",
            http=_Protocol,
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    watching = [
        asyncio.create_task(stop.wait()),
        asyncio.create_task(_announce(wiring.services.status.began, url, ready)),
    ]
    try:
        await asyncio.wait([serving, watching[0]], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in watching:
            task.cancel()
        wiring.services.status.end()
        await asyncio.wait([serving], timeout=drain)
        wiring.release()
        server.should_exit = True
        await serving
        log.info("api_stopped", url=url)


def raise_file_limit() -> None:
    """Let the process have more open files than the 1,024 that many systems begin with, if they allow it.

    Fewer than its streams may be, and one tenant's would leave none for a connection to Redis.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS has a bound of its own below its hard limit.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _announce(began: asyncio.Event, url: str, ready: asyncio.Event | None) -> None:
    await began.wait()
    log.info("api_serving", url=url)
    if isinstance(ready, Ready):
        ready.url = url
    if ready is not None:
        ready.set()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)
