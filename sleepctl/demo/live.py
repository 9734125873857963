"""A worker and an API in this process: plays a scenario on them, then serves."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, TypeVar

import httpx

from api.console.sign_in_codes import SignInCodes
from api.serve import Ready
from api.serve import serve as serve_api
from schemas.clock import monotonic_ms
from schemas.errors import describe
from schemas.settings import Settings
from schemas.tasks import end_tasks
from schemas.tls import context_for
from sleepctl.demo.installation import DemoInstallation, TransitionView, read_transitions
from sleepctl.demo.player import Player, View
from sleepctl.demo.scenario import ACME, STEPS, TENANTS
from sleepctl.demo.services import Embedded
from sleepctl.demo.view import Serving
from sleepctl.io import api_client as client
from sleepctl.io.api_client import ApiClient
from sleepctl.io.kafka import KafkaLog
from sleepctl.ui.errors import CommandError
from worker.runtime.worker import serve as serve_worker

Result = TypeVar("Result")
SCOPES: Final = "sleep:read sleep:write sleep:policy sleep:override sleep:emit"
_READY_SECONDS: Final = 30.0
_END_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05


class LiveView(View, TransitionView, Protocol):
    """Shows the scenario."""

    def verdict(self, unseen: Sequence[str]) -> None:
        """Show that the scenario is over, and what was not seen."""
        ...

    def serving(self, serving: Serving) -> None:
        """Show how to use the installation."""
        ...


class Live:
    """An installation on embedded services.

    Attributes:
        unseen: the expectations that were not seen; None until the scenario has ended.
    """

    def __init__(self, services: Embedded, settings: Settings, view: LiveView, *, once: bool) -> None:
        self._services = services
        self._settings = settings
        self._view = view
        self._once = once
        self._ready = Ready()
        self._sign_in = SignInCodes(self._operator_token, monotonic_ms)
        self.unseen: list[str] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Start worker and API and play the scenario; then serve until `stop`, unless `once` is set.

        Raises:
            CommandError: if worker or API does not start, or ends.
        """
        halt, worker_ready = asyncio.Event(), asyncio.Event()
        parts = [
            asyncio.create_task(
                serve_worker(self._settings, stop=halt, ready=worker_ready, embedded=True), name="the worker"
            ),
            asyncio.create_task(
                serve_api(self._settings, stop=halt, ready=self._ready, embedded=True, sign_in=self._sign_in),
                name="the API",
            ),
        ]
        stopping = asyncio.create_task(stop.wait())
        playing = asyncio.create_task(guard(self._play(worker_ready), parts))
        try:
            await asyncio.wait([playing, stopping], return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
        finally:
            halt.set()
            await end_tasks([playing, stopping], seconds=_END_SECONDS)
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
                    ApiClient(self._ready.url, token(f"ops@{tenant}", SCOPES, tenant))
                )
                for tenant in TENANTS
            }
            operator = ApiClient(self._ready.url, token("sleepctl", "sleep:read-any", None))
            await stack.enter_async_context(operator)
            installation = DemoInstallation(log, self._settings.topics.breakers, tenants, operator)
            watching = asyncio.create_task(
                installation.watch(read_transitions(self._settings), self._view), name="the audit"
            )
            try:
                self.unseen = await guard(Player(installation, self._view).play(STEPS, TENANTS), [watching])
                self._view.verdict(self.unseen)
                if not self._once:
                    self._view.serving(self._serving())
                    await guard(asyncio.Event().wait(), [watching])
            finally:
                await end_tasks([watching], seconds=_END_SECONDS)

    async def _every_lane(self) -> None:
        """Wait until the worker's status page says that it owns every partition and applies events."""
        page = f"http://{self._settings.api_host}:{self._settings.worker_metrics_port}/status"
        async with httpx.AsyncClient(
            transport=client.transport(), verify=context_for(page, ""), trust_env=False
        ) as http:
            while True:
                status: dict[str, Any] = (await http.get(page)).json()
                if status["status"] == "ok" and len(status["lanes"]) == self._settings.partitions:
                    return
                await asyncio.sleep(_POLL_SECONDS)

    def _operator_token(self) -> str:
        return self._services.token("operator", "sleep:operate", None)

    def _serving(self) -> Serving:
        settings = self._settings
        return Serving(
            url=self._ready.url,
            worker_url=f"http://{settings.api_host}:{settings.worker_metrics_port}",
            tenant=ACME,
            token=self._services.token(f"ops@{ACME}", SCOPES, ACME),
            operator_token=self._operator_token(),
            console=f"{self._ready.url}/console/#/?code={self._sign_in.issue()}",
            kafka=settings.kafka_bootstrap,
            redis=self._services.redis,
            partitions=settings.partitions,
        )


async def guard(main: Coroutine[Any, Any, Result], background: Sequence["asyncio.Task[None]"]) -> Result:
    """Return the result of `main`, unless a background task ends first.

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
        await end_tasks([task], seconds=_END_SECONDS)
    return task.result()
