"""The worker's own page: alive, ready, what it finds, which build, metrics."""

import asyncio
from typing import Any, Protocol

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.build import build
from schemas.errors import describe
from schemas.settings import Settings
from worker.ingress import Ingress
from worker.lanes import Lanes
from worker.metrics import Metrics
from worker.outputs import Outputs
from worker.ports import OutputError, StoreError
from worker.redis_watch import RedisWatch
from worker.store import Store


class Watched(Protocol):
    """The worker, as its page sees it."""

    store: Store
    outputs: Outputs
    lanes: Lanes
    metrics: Metrics
    kafka_finding: str | None
    joined: bool
    redis_watch: RedisWatch
    ingress: Ingress


class StatusPage:
    """Serves `/healthz`, `/readyz`, `/status`, `/version` and `/metrics` on the worker's port.

    Attributes:
        app: what is served there.
    """

    def __init__(self, worker: Watched, settings: Settings) -> None:
        self._worker = worker
        self._stopping = False
        routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/status", self._status),
            Route("/version", self._version),
            Route("/metrics", self._metrics),
        ]
        self.app = Starlette(routes=routes)
        config = uvicorn.Config(
            self.app, host=settings.api_host, port=settings.worker_metrics_port,
            log_config=None, access_log=False, lifespan="off", ws="none",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind the port and serve.

        Raises:
            OSError: if the address cannot be bound.
        """
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        try:
            await self._server.startup()
        except SystemExit:
            # uvicorn has logged why, and would end the process without another word.
            reason = f"port {config.port} of {config.host} cannot be bound (SLEEP_WORKER_METRICS_PORT, SLEEP_API_HOST)"
            raise OSError(reason) from None
        self._task = asyncio.create_task(self._server.main_loop(), name="status-page")

    async def stop(self) -> None:
        """Stop serving."""
        self._stopping = True
        self._server.should_exit = True
        if self._task is not None:
            await self._task
            await self._server.shutdown()

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _readyz(self, _: Request) -> Response:
        """Say whether it has been in its group once, and does not stop: no outage makes it unready again."""
        ready = self._worker.joined and not self._stopping
        return JSONResponse({"status": "ready" if ready else "not ready"}, status_code=200 if ready else 503)

    async def _status(self, _: Request) -> Response:
        redis, kafka = await asyncio.gather(self._redis_finding(), self._kafka_finding())
        lanes = [
            {
                "partition": lane.partition,
                "position": lane.position,
                "stopped": lane.stopped,
                "finding": lane.finding,
            }
            for lane in self._worker.lanes
        ]
        ingress = dict(self._worker.ingress.findings)
        healthy = not any((redis, kafka, ingress, *(lane["finding"] for lane in lanes)))
        body: dict[str, Any] = {
            "status": "ok" if healthy else "bad",
            "dependencies": {
                name: {"up": finding is None, "finding": finding or "answers"}
                for name, finding in (("redis", redis), ("kafka", kafka))
            },
            "warnings": list(self._worker.redis_watch.health.warnings),
            "lanes": lanes,
            "ingress": ingress,
        }
        return JSONResponse(body, status_code=200 if healthy else 503)

    async def _redis_finding(self) -> str | None:
        try:
            await self._worker.store.ping()
        except StoreError as error:
            return describe(error)
        return "; ".join(self._worker.redis_watch.health.bad) or None

    async def _kafka_finding(self) -> str | None:
        if self._worker.kafka_finding is not None:
            return self._worker.kafka_finding
        try:
            await self._worker.outputs.ping()
        except OutputError as error:
            return describe(error)
        return None

    async def _version(self, _: Request) -> Response:
        return JSONResponse(build())

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._worker.metrics.registry), media_type=CONTENT_TYPE_LATEST)
