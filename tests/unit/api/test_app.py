"""Wiring, starting and stopping."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

import httpx
import pytest
import structlog
from fastapi import FastAPI
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.types import Message, Receive, Scope, Send

from api import serve as serving
from api.adapters.dependency import Dependency, keep
from api.app import Wiring, create_app, wire
from api.http.middleware import RequestMiddleware
from api.observability.lag import STALLED_MS
from api.security.embedded_policy import EmbeddedPolicy
from api.security.opa import OpaServer
from api.serve import Ready, serve
from schemas.environment import SettingsError
from schemas.http.server import HttpServer
from schemas.redis.client import OUTAGE
from schemas.redis.health import RedisHealth
from schemas.settings import Settings
from tests.support.tokens import AUDIENCE, ISSUER
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.fakes import FakeClock


def _settings(**changes: object) -> Settings:
    given: dict[str, object] = {
        "kafka_bootstrap": "kafka:9092",
        "redis_url": "redis://redis:6379",
        "jwt_jwks": "jwks.json",
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
    }
    return Settings.model_validate(given | changes)


@pytest.mark.parametrize("module", ["api", "api.app", "api.serve"])
def test_importing_the_api_loads_no_worker(module: str) -> None:
    """Neither Faust nor aiohttp nor anything of `worker` or `sleepctl`."""
    program = f"import {module}, sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "api" in done.stdout.split()
    assert not {"faust", "mode", "aiohttp", "worker", "sleepctl"} & set(done.stdout.split())


async def _close(wiring: Wiring) -> None:
    for close in wiring.closing:
        await close()


async def test_a_partition_that_stands_still_is_a_metric() -> None:
    """What `/status` calls degraded can be alerted on."""
    clock = FakeClock()
    wiring = wire(_settings(), monotonic=clock)
    services = wiring.services
    services.status.lag.sample({1: 7}, {0: 3, 1: 7}, clock())
    assert b"sleep_api_standing_partitions 0.0\n" in services.metrics.render()
    assert b'sleep_api_waiting_records{partition="0"} 3.0\n' in services.metrics.render()
    clock.now += STALLED_MS
    assert b"sleep_api_standing_partitions 1.0\n" in services.metrics.render()
    await _close(wiring)


async def test_findings_on_redis_are_metrics() -> None:
    """What `/status` says of Redis can be alerted on, bad findings and warnings apart."""
    wiring = wire(_settings())
    services = wiring.services
    services.status.redis.health = RedisHealth(bad=("maxmemory-policy is allkeys-lru",), warnings=("a", "b"))
    text = services.metrics.render()
    assert b'sleep_api_redis_findings{severity="bad"} 1.0\n' in text
    assert b'sleep_api_redis_findings{severity="warning"} 2.0\n' in text
    assert b"sleep_api_partitions 8.0\n" in text
    await _close(wiring)


async def test_the_embedded_policy_needs_no_task() -> None:
    """Kafka, Redis, keys, lag and census do; nothing connects."""
    wiring = wire(_settings())
    assert isinstance(wiring.services.authoriser, EmbeddedPolicy)
    assert len(wiring.tasks) == 8
    names = [dependency.name for dependency in wiring.services.status.dependencies]
    assert names == ["kafka", "redis", "opa", "jwks", "transitions", "states"]
    await _close(wiring)


async def test_an_opa_server_is_watched() -> None:
    """One task more."""
    wiring = wire(_settings(opa_url="http://opa:8181"))
    assert isinstance(wiring.services.authoriser, OpaServer)
    assert len(wiring.tasks) == 9
    await _close(wiring)


async def test_each_task_looks_after_one_dependency(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `keep` is given, the lag, the census, and how Redis is run."""
    remaining: list[str] = []

    async def keep(dependency: Dependency, connect: object, lost: tuple[type[Exception], ...]) -> None:
        assert connect
        assert all(issubclass(error, Exception) for error in lost)
        remaining.append(dependency.name)

    async def watch(*_: object) -> None:
        remaining.append("lag")

    async def count(*_: object) -> None:
        remaining.append("census")

    monkeypatch.setattr("api.app.keep", keep)

    async def look(_: object) -> None:
        remaining.append("how redis is run")

    monkeypatch.setattr("api.observability.lag.Lag.watch", watch)
    monkeypatch.setattr("api.observability.census.Census.watch", count)
    monkeypatch.setattr("schemas.redis.watch.RedisWatch.run", look)
    wiring = wire(_settings(opa_url="http://opa:8181"))
    for task in wiring.tasks:
        await task()
    assert remaining == ["kafka", "redis", "transitions", "states", "jwks", "lag", "census", "how redis is run", "opa"]
    await _close(wiring)


def test_settings_that_the_api_needs_are_named() -> None:
    """Before anything starts."""
    with pytest.raises(SettingsError, match="SLEEP_JWT_JWKS, SLEEP_JWT_AUDIENCE must be set"):
        wire(_settings(jwt_jwks=None, jwt_audience=None))


async def test_tasks_run_from_start_to_stop(api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then connections are closed; a task that fails is logged, and runs again a little later."""
    monkeypatch.setattr("api.app._RESTART_SECONDS", 0.0)
    events: list[str] = []

    async def forever() -> NoReturn:
        events.append("started")
        try:
            await asyncio.Event().wait()
        finally:
            events.append("ended")
        raise AssertionError

    failing = asyncio.Event()

    async def fail() -> NoReturn:
        if "failed" in events:
            failing.set()
            await asyncio.Event().wait()
        events.append("failed")
        raise KeyError("oops")

    async def close() -> None:
        events.append("closed")

    app = create_app(Wiring(api.services, [forever, fail], closing=[close]))
    with structlog.testing.capture_logs() as logs:
        async with app.router.lifespan_context(app):
            await api.services.status.began.wait()
            assert api.services.status.ready
            await failing.wait()
        await asyncio.sleep(0)
    assert events == ["started", "failed", "ended", "closed"]
    assert [line["event"] for line in logs] == ["background_task_failed"]


async def test_a_task_that_fails_as_it_is_cancelled_does_not_run_again(api: ApiOverFakes) -> None:
    """The process would never end."""
    began: list[int] = []

    async def stubborn() -> NoReturn:
        began.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            raise KeyError("oops")

    app = create_app(Wiring(api.services, [stubborn]))
    with structlog.testing.capture_logs():
        async with asyncio.timeout(5), app.router.lifespan_context(app):
            await api.services.status.began.wait()
    assert began == [1]


async def test_an_error_that_takes_the_place_of_a_cancel_holds_no_stop_up(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection fails to close as its task is cancelled; its keeper takes that for a loss and connects again."""
    monkeypatch.setattr("api.app._CANCEL_AGAIN_SECONDS", 0.001)
    redis, connections = Dependency("redis"), 0

    async def connect() -> NoReturn:
        nonlocal connections
        connections += 1
        try:
            redis.mark_up()
            await asyncio.Event().wait()
        finally:
            if connections == 1:
                raise RedisTimeoutError("Timed out closing connection after 5")
        raise AssertionError

    app = create_app(Wiring(api.services, [lambda: keep(redis, connect, OUTAGE)]))
    async with asyncio.timeout(5), app.router.lifespan_context(app):
        await redis.tried.wait()
    assert redis.finding == "TimeoutError: Timed out closing connection after 5"


async def test_a_task_that_swallows_each_cancel_holds_no_stop_up(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, with what it waits for."""
    monkeypatch.setattr("api.app._CANCEL_AGAIN_SECONDS", 0.001)
    monkeypatch.setattr("api.app.END_SECONDS", 0.01)
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    app = create_app(Wiring(api.services, [stubborn]))
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(5), app.router.lifespan_context(app):
            await asyncio.sleep(0)
    (line,) = [line for line in logs if line["event"] == "background_task_not_ended"]
    assert "stubborn > Event.wait" in line["task"]
    release.set()
    await asyncio.sleep(0)


async def test_a_client_that_does_not_close_keeps_no_other_from_it(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs, or fails; that is said."""
    monkeypatch.setattr("api.app.CLOSE_SECONDS", 0.001)
    closed: list[int] = []

    async def fail() -> None:
        raise RedisTimeoutError("Timed out closing connection after 5")

    async def close() -> None:
        closed.append(1)

    app = create_app(Wiring(api.services, closing=[asyncio.Event().wait, fail, close]))
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(5), app.router.lifespan_context(app):
            await asyncio.sleep(0)
    assert closed == [1]
    assert [line["event"] for line in logs] == ["client_not_closed"] * 2


async def test_a_lifespan_message_passes_the_edge(api: ApiOverFakes) -> None:
    """Only requests are counted."""
    received: Iterator[Message] = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Message:
        return next(received)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await api.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_failure_after_the_answer_began_is_not_answered_again(api: ApiOverFakes) -> None:
    """The server ends the connection."""

    async def broken(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        raise RuntimeError("half way")

    edge = RequestMiddleware(broken, api.services.metrics, api.clock)
    transport = httpx.ASGITransport(edge)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        with pytest.raises(RuntimeError, match="half way"):
            await client.get("/")


class _Listener:
    """A socket that was never opened."""

    def __init__(self, host: str) -> None:
        self.host = host

    def getsockname(self) -> tuple[str, int]:
        return self.host, 4711


class _Uvicorn:
    """A server that only runs the application's start and stop, until it should exit."""

    def __init__(self, app: FastAPI, *_: object, **__: object) -> None:
        self.app = app
        self.exit = asyncio.Event()

    def stop(self) -> None:
        self.exit.set()

    async def run_until_stopped(self) -> None:
        async with self.app.router.lifespan_context(self.app):
            await self.exit.wait()


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:4711"), ("::1", "http://[::1]:4711")])
async def test_a_process_serves_until_it_is_told_to_stop(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, host: str, url: str
) -> None:
    """It says where, releases waiting callers, and is unready while it stops."""
    released: list[bool] = []
    wiring = Wiring(api.services, release=lambda: released.append(api.services.status.ready))
    monkeypatch.setattr(serving, "wire", lambda _, **__: wiring)
    monkeypatch.setattr(serving, "HttpServer", _Uvicorn)
    monkeypatch.setattr(serving, "listen", lambda settings, _: _Listener(settings.api_host))
    stop, ready = asyncio.Event(), Ready()
    process = asyncio.create_task(serve(_settings(api_host=host), stop=stop, ready=ready, drain=0))
    await ready.wait()
    assert ready.url == url
    assert api.services.status.ready
    stop.set()
    await process
    assert released == [False]


@pytest.mark.parametrize("ready", [None, asyncio.Event()])
async def test_nobody_needs_to_know_where(
    api: ApiOverFakes, monkeypatch: pytest.MonkeyPatch, ready: asyncio.Event | None
) -> None:
    """`ready` may be any event, or left out."""
    monkeypatch.setattr(serving, "wire", lambda _, **__: Wiring(api.services))
    monkeypatch.setattr(serving, "HttpServer", _Uvicorn)
    monkeypatch.setattr(serving, "listen", lambda settings, _: _Listener(settings.api_host))
    stop = asyncio.Event()
    process = asyncio.create_task(serve(_settings(), stop=stop, ready=ready, drain=0))
    await api.services.status.began.wait()
    await asyncio.sleep(0)
    stop.set()
    await process
    assert ready is None or ready.is_set()


def test_signals_are_left_to_the_entry_point() -> None:
    """Uvicorn installs none."""
    before = signal.getsignal(signal.SIGTERM)
    with HttpServer.capture_signals(object()):  # type: ignore[arg-type]  # it touches no self
        assert signal.getsignal(signal.SIGTERM) is before
