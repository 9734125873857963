"""The server of the process, and its reader."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from sleep_client.async_reader import AsyncSleepReader
from sleep_client.gate.app import GateApp
from sleep_client.gate.checking import Checks, States
from sleep_client.gate.connection import PromptConnection
from sleep_client.gate.metrics import Metrics
from sleep_client.gate.settings import GateSettings

_HEAD_BYTES: Final = 65_536
"""Of a request's head. Envoy's own default, 60 KiB, is below it."""
_IDLE_SECONDS: Final = 75
"""More than after which a proxy closes an idle connection, so that no request meets a closed one."""
_STOP_SECONDS: Final = 5


async def serve(settings: GateSettings, reader_class: Callable[..., AsyncSleepReader] = AsyncSleepReader) -> bool:
    """Serve until SIGTERM or SIGINT. Return whether the server had started."""
    tenants = settings.tenants
    reader = reader_class(
        settings.url,
        settings.token,
        tenants=tenants,
        max_stale_seconds=settings.max_stale_seconds,
        when_stale="wake" if settings.when_stale == "wake" else "hold",
    )
    async with reader:
        denies_stale = settings.when_stale == "deny"
        states = States(reader, denies_stale=denies_stale, watched=None if tenants is None else tenants[0])
        app = GateApp(Checks(states, settings), states, Metrics())
        server = _Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                # h11 bounds the head of a request. httptools is faster, and has no such bound.
                http=PromptConnection,
                h11_max_incomplete_event_size=_HEAD_BYTES,
                ws="none",
                lifespan="off",
                limit_concurrency=settings.connections,
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=_STOP_SECONDS,
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                date_header=False,
            )
        )
        await server.serve()
        return server.started


class _Server(uvicorn.Server):
    """uvicorn's, which ends without raising the signal again: a stop is no failure."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
