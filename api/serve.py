"""Runs one API process until an event is set."""

import asyncio
import resource
from contextlib import suppress
from typing import Final

import structlog

from api.app import create_app, wire
from api.console.sign_in_codes import SignInCodes
from api.observability.traced import traced_app
from schemas.http.connections import Connections, affordable
from schemas.http.server import HttpServer, Member, listen
from schemas.settings import Settings
from schemas.tracing.starting import close_tracing, start_tracing

DRAIN_SECONDS: Final = 1.0
"""How long a stopping process still serves while `/readyz` fails, so that load balancers stop sending requests first.

A waiting caller gets an outcome that arrives in this time, and otherwise 202.
"""
STOP_SECONDS: Final = 10
"""How long requests in flight may take after that."""
FILES: Final = 65_536
"""The wanted limit of open files: streams, callers, and connections to dependencies."""

log = structlog.get_logger(__name__)


class Ready(asyncio.Event):
    """Set once the API serves. Its `url` then has the real port, also for port 0."""

    def __init__(self) -> None:
        super().__init__()
        self.url = ""


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
    drain: float = DRAIN_SECONDS,
    embedded: bool = False,
    member: Member | None = None,
    sign_in: SignInCodes | None = None,
) -> None:
    """Serve until `stop` is set.

    Args:
        settings: the settings; port 0 takes a free port.
        stop: begins a graceful stop. It takes at most `drain` and `STOP_SECONDS`, then 5 s for background tasks and
            5 s for clients: 21 s, and a little.
        ready: is set once requests are served, after the first attempt on each dependency, failed or not. A `Ready`
            also gets the URL.
        drain: seconds of service after `/readyz` fails.
        embedded: whether Redis is the embedded one, whose data ends with the process.
        member: given to one of several processes, with the socket that they share.
        sign_in: codes that sign readers of the console in.

    Raises:
        SettingsError: if a setting that the API needs is absent.
        OSError: if the address cannot be bound.
    """
    raise_file_limit()
    tracing = start_tracing(settings, "somabrain-sleep-api")
    wiring = wire(settings, embedded=embedded, member=member, sign_in=sign_in, tracing=tracing)
    listener = listen(settings, "api_port") if member is None else member.listener
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    metrics = wiring.services.metrics
    connections = Connections(
        affordable(settings.api_connections),
        settings.api_connections_per_address,
        refused=metrics.connection_refused,
    )
    metrics.watch_connections(connections)
    server = HttpServer(
        traced_app(create_app(wiring), tracing), listener, connections, lifespan="on", stop_seconds=STOP_SECONDS
    )
    serving = asyncio.create_task(server.run_until_stopped())
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
        server.stop()
        await serving
        await close_tracing(tracing)
        log.info("api_stopped", url=url)


def raise_file_limit() -> None:
    """Raise the process's limit of open files, which is 1,024 on many systems.

    The streams of one tenant could otherwise use all of them, and leave none for a connection to Redis.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        # macOS has a bound of its own below its hard limit.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


async def _announce(began: asyncio.Event, url: str, ready: asyncio.Event | None) -> None:
    await began.wait()
    log.info("api_serving", url=url)
    if isinstance(ready, Ready):
        ready.url = url
    if ready is not None:
        ready.set()
