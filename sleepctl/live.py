"""A worker and an API in this process, a scenario played on them, and what to do with them afterwards."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, TypeVar

import httpx

from api.serve import Ready
from api.serve import serve as serve_api
from schemas.errors import describe
from schemas.settings import Settings
from sleepctl import client
from sleepctl.client import Door
from sleepctl.doors import Doors, TransitionView, read_transitions
from sleepctl.embedded import Embedded
from sleepctl.errors import CommandError
from sleepctl.kafka import KafkaLog
from sleepctl.player import Player, View
from sleepctl.scenario import ACME, STEPS, TENANTS
from sleepctl.view import Serving
from worker.process import serve as serve_worker

Result = TypeVar("Result")
SCOPES: Final = "sleep:read sleep:write sleep:policy sleep:override sleep:emit"
_READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


class LiveView(View, TransitionView, Protocol):
    """Where a person watches all of it."""

    def verdict(self, unseen: Sequence[str]) -> None:
        """Say that the scenario is over, and what it did not see."""
        ...

    def serving(self, found: Serving) -> None:
        """Say how to go on playing."""
        ...


class Live:
    """A whole system on embedded services.

    Attributes:
        unseen: what the scenario did not see; None until it has ended.
    """

    def __init__(self, services: Embedded, settings: Settings, view: LiveView, *, once: bool) -> None:
        self._services = services
        self._settings = settings
        self._view = view
        self._once = once
        self._ready = Ready()
        self.unseen: list[str] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Start worker and API, play the scenario, and serve until `stop` unless it is to be once only.

        Raises:
            CommandError: if one of them does not start, or ends.
        """
        halt, worker_ready = asyncio.Event(), asyncio.Event()
        parts = [
            asyncio.create_task(
                serve_worker(self._settings, stop=halt, ready=worker_ready, embedded=True), name="the worker"
            ),
            asyncio.create_task(serve_api(self._settings, stop=halt, ready=self._ready, embedded=True), name="the API"),
        ]
        stopping = asyncio.create_task(stop.wait())
        playing = asyncio.create_task(guard(self._play(worker_ready), parts))
        try:
            await asyncio.wait([playing, stopping], return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
        finally:
            playing.cancel()
            stopping.cancel()
            halt.set()
            await asyncio.gather(playing, stopping, return_exceptions=True)
            ends = await asyncio.gather(*parts, return_exceptions=True)
        for part, end in zip(parts, ends, strict=True):
            if end is not None:
                raise CommandError(f"{part.get_name()} did not stop cleanly: {describe(end)}")

    async def _play(self, worker_ready: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await worker_ready.wait()
                await self._ready.wait()
                await self._every_lane()
        except TimeoutError:
            raise CommandError(f"worker and API are not ready after {_READY_SECONDS:g} s; try --verbose") from None
        async with AsyncExitStack() as stack:
            log = await stack.enter_async_context(KafkaLog(self._settings))
            token = self._services.token
            tenants = {
                tenant: await stack.enter_async_context(
                    Door(self._ready.url, token(f"ops@{tenant}", SCOPES, tenant), proxies=False)
                )
                for tenant in TENANTS
            }
            operator = Door(self._ready.url, token("sleepctl", "sleep:read-any", None), proxies=False)
            await stack.enter_async_context(operator)
            doors = Doors(log, self._settings.topics.breakers, tenants, operator)
            watching = asyncio.create_task(doors.watch(read_transitions(self._settings), self._view), name="the audit")
            try:
                self.unseen = await guard(Player(doors, self._view).play(STEPS, TENANTS), [watching])
                self._view.verdict(self.unseen)
                if not self._once:
                    self._view.serving(self._serving())
                    await guard(asyncio.Event().wait(), [watching])
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _every_lane(self) -> None:
        """Wait until the worker owns every partition and works on it, as its status page says."""
        page = f"http://{self._settings.api_host}:{self._settings.worker_metrics_port}/status"
        async with httpx.AsyncClient(transport=client.transport(), trust_env=False) as http:
            while True:
                status: dict[str, Any] = (await http.get(page)).json()
                if status["status"] == "ok" and len(status["lanes"]) == self._settings.partitions:
                    return
                await asyncio.sleep(_POLL_SECONDS)

    def _serving(self) -> Serving:
        settings = self._settings
        return Serving(
            url=self._ready.url,
            worker_url=f"http://{settings.api_host}:{settings.worker_metrics_port}",
            tenant=ACME,
            token=self._services.token(f"ops@{ACME}", SCOPES, ACME),
            operator_token=self._services.token("operator", "sleep:operate", None),
            kafka=settings.kafka_bootstrap,
            redis=self._services.redis,
            partitions=settings.partitions,
        )


async def guard(main: Coroutine[Any, Any, Result], background: Sequence["asyncio.Task[None]"]) -> Result:
    """Return what `main` returns, while nothing in the background ends.

    Raises:
        CommandError: naming the task that ended, and why.
    """
    task = asyncio.create_task(main)
    try:
        await asyncio.wait([task, *background], return_when=asyncio.FIRST_COMPLETED)
        for other in background:
            if other.done() and not task.done():
                error = None if other.cancelled() else other.exception()
                raise CommandError(f"{other.get_name()} ended" + ("" if error is None else f": {describe(error)}"))
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return task.result()
