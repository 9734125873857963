"""The process of the gate: how it is served, and how it ends."""

import asyncio
import os
import signal
import sys
from typing import Any

import pytest
import uvicorn

from sleep_client import AsyncSleepReader
from sleep_client.gate import __main__ as program
from sleep_client.gate.connection import PromptConnection
from sleep_client.gate.serving import serve
from tests.support.gate import REQUIRED, settings
from tests.support.states_server import LIMIT_SECONDS, StatesServer, snapshot


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[uvicorn.Server]:
    """The servers that would have opened a socket. Each gets SIGTERM at once."""
    servers: list[uvicorn.Server] = []

    async def serve_nothing(server: uvicorn.Server, *_: object) -> None:
        servers.append(server)
        server.started = True
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(LIMIT_SECONDS):
            while not server.should_exit:
                await asyncio.sleep(0)

    monkeypatch.setattr(uvicorn.Server, "_serve", serve_nothing)
    return servers


async def test_a_signal_ends_it_without_a_failure(served: list[uvicorn.Server]) -> None:
    """The reader is closed, and no task is left; heads and connections have bounds."""
    states = StatesServer()
    readers: list[AsyncSleepReader] = []

    class Reader(AsyncSleepReader):
        _transport = staticmethod(states.transport)

        def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - the reader's own
            super().__init__(*arguments, **more)
            readers.append(self)

    assert await serve(settings(CONNECTIONS="7", HOST="::1", PORT="1234", TENANTS="acme"), Reader)
    (config,) = [server.config for server in served]
    assert (config.host, config.port, config.limit_concurrency) == ("::1", 1234, 7)
    assert config.h11_max_incomplete_event_size == 65_536
    assert (config.access_log, config.http, config.proxy_headers) == (False, PromptConnection, False)
    with pytest.raises(Exception, match="closed"):
        readers[0].state("acme")


@pytest.mark.parametrize(("when_stale", "of_the_reader"), [("hold", "hold"), ("wake", "wake"), ("deny", "hold")])
async def test_the_reader_is_told_what_counts_while_stale(
    served: list[uvicorn.Server], when_stale: str, of_the_reader: str
) -> None:
    """What the gate itself denies, the reader holds."""
    given: list[dict[str, Any]] = []

    def reader(url: str, token: str, **more: Any) -> AsyncSleepReader:  # noqa: ANN401 - the reader's own
        given.append(more)
        return AsyncSleepReader(url, token, **more)

    await serve(settings(WHEN_STALE=when_stale, MAX_STALE_SECONDS="5"), reader)
    assert given == [{"tenants": None, "max_stale_seconds": 5.0, "when_stale": of_the_reader}]
    assert served


def test_the_program_ends_with_a_status(
    served: list[uvicorn.Server], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 after a signal; 2 if certificates cannot be read."""
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    assert program.main() == 0
    assert served
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert program.main() == 2
    assert capsys.readouterr().err.startswith("sleep-gate: SSL_CERT_FILE: it cannot be read")


def test_the_program_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its console script is there without it."""
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "sleep_client.gate.serving")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert program.main() == 2
    assert capsys.readouterr().err == "sleep-gate: uvicorn is missing: install somabrain-sleep-client[gate]\n"


async def test_what_the_reader_knows_is_answered(served: list[uvicorn.Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """From a stream to an answer."""
    states = StatesServer()
    answers: list[int] = []

    class Reader(AsyncSleepReader):
        _transport = staticmethod(states.transport)

    async def call(server: uvicorn.Server, *_: object) -> None:
        served.append(server)
        app: Any = server.config.app
        (await states.next_async()).send(snapshot("acme"))

        async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's own
            answers.append(message.get("status", 0))

        scope = {"type": "http", "method": "GET", "headers": [(b"x-tenant-id", b"acme")]}
        async with asyncio.timeout(LIMIT_SECONDS):
            while 200 not in answers:
                await app(scope | {"path": "/readyz"}, None, send)
                await asyncio.sleep(0)
        answers.clear()
        await app(scope | {"path": "/gate"}, None, send)

    monkeypatch.setattr(uvicorn.Server, "_serve", call)
    await serve(settings(DENY="freeze"), Reader)
    assert answers == [403, 0]
