"""The HTTP server of a worker: health checks, status, build and metrics."""

import asyncio
import time
from typing import Any, Final, Protocol, cast

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.build_info import build
from schemas.clock_skew import LOG_TIME, skew_finding
from schemas.errors import describe
from schemas.http.connections import Connections, affordable
from schemas.http.counted import PROBES
from schemas.http.pace import Pace, Turns
from schemas.http.pages import OK, Page, PageName, document
from schemas.http.server import HttpServer, Member, listen
from schemas.redis.watch import RedisWatch
from schemas.settings import Settings
from worker.adapters.kafka_producer import KafkaOutputs
from worker.adapters.redis_store import LaneStore
from worker.metrics import Metrics
from worker.partition.manager import LaneManager
from worker.ports import OutputError, StoreError
from worker.runtime.topic_watch import TopicWatch
from worker.runtime.unreadable_batches import UnreadableBatches

A_SECOND: Final = 50
"""How many requests a second are served, besides probes. Metrics take about 1 ms, which leaves time for the fold."""
PROBES_A_SECOND: Final = 200
"""How many probes a second are answered; one takes about 0.3 ms."""


class Watched(Protocol):
    """What the status server needs of the worker."""

    store: LaneStore
    outputs: KafkaOutputs
    lanes: LaneManager
    metrics: Metrics
    unreadable: UnreadableBatches
    redis_watch: RedisWatch
    topic_watch: TopicWatch

    @property
    def kafka_problem(self) -> str | None:
        """Why the lanes get no records from Kafka, None if they get them."""

    @property
    def joined(self) -> bool:
        """Whether the worker has joined its group once."""

    @property
    def ingress_problems(self) -> dict[str, str]:
        """Why ingress topics are not read or not forwarded, by topic."""


class StatusPage:
    """Serves `/healthz`, `/readyz`, `/status`, `/version` and `/metrics` on the worker's port.

    Args:
        worker: what the pages are about.
        settings: the settings.
        member: given to one of several processes, whose pages are about all of them.

    Attributes:
        app: the ASGI application.
    """

    def __init__(self, worker: Watched, settings: Settings, member: Member | None = None) -> None:
        self._worker = worker
        self._stopping = False
        routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._page),
            Route("/status", self._page),
            Route("/version", self._version),
            Route("/metrics", self._page),
        ]
        self.app = Starlette(routes=routes)
        pages, probes = Turns(A_SECOND), Turns(PROBES_A_SECOND)
        self._paced = Pace(self.app, lambda path: probes if path in PROBES else pages, time.monotonic, asyncio.sleep)
        metrics = worker.metrics
        self._connections = Connections(
            affordable(settings.worker_connections),
            settings.worker_connections_per_address,
            refused=lambda bound: metrics.connections_refused.labels(bound).inc(),
        )
        metrics.connections.set_function(lambda: float(self._connections.total))
        self._settings = settings
        self._member = member
        self._pages = self._own_page if member is None else member.pages_of_all(self._own_page)
        self._server: HttpServer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind the port and serve.

        Raises:
            OSError: if the address cannot be bound.
        """
        member = self._member
        listener = listen(self._settings, "worker_metrics_port") if member is None else member.listener
        self._server = HttpServer(self._paced, listener, self._connections, lifespan="off", stop_seconds=1)
        self._task = asyncio.create_task(self._server.run_until_stopped(), name="status-page")

    async def stop(self) -> None:
        """Stop serving."""
        self._stopping = True
        if self._server is not None and self._task is not None:
            self._server.stop()
            await self._task

    async def _healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def _page(self, request: Request) -> Response:
        page = await self._pages(cast("PageName", request.url.path.removeprefix("/")))
        return Response(page.body, page.status, media_type=page.media_type)

    async def _own_page(self, name: PageName) -> Page:
        if name == "metrics":
            return Page(OK, generate_latest(self._worker.metrics.registry).decode(), CONTENT_TYPE_LATEST)
        if name == "status":
            return await self._status()
        # Ready once the worker has joined its group, until it stops. No outage makes it unready again.
        ready = self._worker.joined and not self._stopping
        return document({"status": "ready" if ready else "not ready"}, good=ready)

    async def _status(self) -> Page:
        redis, kafka = await asyncio.gather(self._redis_problem(), self._kafka_problem())
        lanes = [
            {
                "partition": lane.partition,
                "position": lane.position,
                "stopped": lane.stopped,
                "finding": lane.problem,
            }
            for lane in self._worker.lanes
        ]
        ingress = self._worker.ingress_problems
        healthy = not any((redis, kafka, ingress, *(lane["finding"] for lane in lanes)))
        skews, topics = self._skew_problems(), self._worker.topic_watch.health
        body: dict[str, Any] = {
            "status": "bad" if not healthy else "degraded" if skews or topics.weak else "ok",
            "dependencies": {
                name: {"up": problem is None, "finding": problem or "answers"}
                for name, problem in (("redis", redis), ("kafka", kafka))
            },
            "warnings": [*topics.weak.values(), *skews, *self._worker.redis_watch.health.warnings],
            "lanes": lanes,
            "ingress": ingress,
            "unreadable": self._worker.unreadable.shown(),
        }
        return document(body, good=healthy)

    def _skew_problems(self) -> list[str]:
        """Return how this machine's clock differs from others. A wrong clock delays timers, and decides nothing."""
        worker = self._worker
        # Records from the future show a clock that is behind, even if this worker appends no record.
        ahead = max((lane.fetch_buffer.ahead_ms for lane in worker.lanes), default=0)
        kafka = worker.outputs.skew_finding() or skew_finding(LOG_TIME, ahead)
        return [problem for problem in (kafka, worker.redis_watch.skew_finding()) if problem is not None]

    async def _redis_problem(self) -> str | None:
        try:
            await self._worker.store.ping()
        except StoreError as error:
            return describe(error)
        return "; ".join(self._worker.redis_watch.health.bad) or None

    async def _kafka_problem(self) -> str | None:
        if self._worker.kafka_problem is not None:
            return self._worker.kafka_problem
        try:
            await self._worker.outputs.ping()
        except OutputError as error:
            return describe(error)
        return "; ".join(self._worker.topic_watch.health.bad.values()) or None

    async def _version(self, _: Request) -> Response:
        return JSONResponse(build())
