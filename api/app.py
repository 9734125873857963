"""The application, wired in one place. Importing this opens nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.clock import Clock, now_ms
from api.describe.problems import ProblemError, on_problem
from api.door.auth import Verifier
from api.door.authorise import CONNECTIONS, Authoriser, EmbeddedPolicy, OpaServer, policy_folder
from api.door.edge import Edge
from api.door.keys import JwksKeys, fetch_from
from api.door.limits import RedisLimiter, parse_limits
from api.operate.dependency import Dependency, UnavailableError, describe, keep
from api.operate.lag import Lag
from api.operate.metrics import Metrics
from api.operate.redis_watch import RedisWatch
from api.operate.status import Status
from api.publish.commands import Commands
from api.publish.emit import Emitter
from api.publish.log import KafkaEvents
from api.publish.replies import RedisReplies
from api.read.store import LOST, REDIS, RedisStore, connect
from api.read.tenants import Tenants
from api.read.views import Reads
from api.routes import breakers, events, mode, operations, policy, service, sleep, tenants
from api.services import Services
from api.stream.catchup import Catchup
from api.stream.feed import Feed
from api.stream.streams import Streams
from api.stream.transitions import opener
from schemas import build
from schemas.settings import Settings

DESCRIPTION: Final = "Decides, per tenant, how deep a shared platform sleeps. Commands go through one ordered log."

_RESTART_SECONDS: Final = 5.0
_CANCEL_AGAIN_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)
Task = Callable[[], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Wiring:
    """The services, and what keeps them alive while the application runs.

    Attributes:
        services: what requests use.
        tasks: run from start to stop.
        release: called when the process begins to stop, so that waiting callers are answered.
        closing: awaited after the tasks have ended.
    """

    services: Services
    tasks: list[Task] = field(default_factory=list)
    release: Callable[[], None] = lambda: None
    closing: Sequence[Callable[[], Awaitable[Any]]] = field(default_factory=list)


async def _run(task: Task) -> None:
    """Run a background task, and again should it fail: none should, and none may stand still without a word."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("background_task_failed")
            if (ours := asyncio.current_task()) is not None and ours.cancelling():
                raise
            await asyncio.sleep(_RESTART_SECONDS)
        else:
            return


def wire(settings: Settings, clock: Clock = now_ms, *, embedded: bool = False) -> Wiring:
    """Build everything that the settings name; nothing connects before the application starts.

    Args:
        settings: the settings.
        clock: time.
        embedded: whether Redis is to survive nothing.

    Raises:
        SettingsError: if a setting that the API needs is absent, or a rate limit is wrong.
    """
    settings.require("jwt_jwks", "jwt_issuer", "jwt_audience")
    limits = parse_limits(settings)
    kafka, redis, opa, jwks = (Dependency(name) for name in ("kafka", REDIS, "opa", "jwks"))
    # Each its own, so that a hanging OPA takes no connection from the reading of keys.
    client, opa_client = httpx.AsyncClient(), httpx.AsyncClient(limits=CONNECTIONS)
    commands_client, replies_client = connect(settings), connect(settings, retries=0)

    store = RedisStore(commands_client, settings.redis_prefix, settings.partitions)
    log = KafkaEvents.of(settings, kafka)
    replies = RedisReplies(replies_client, settings.redis_prefix, store.operation, redis)
    keys = JwksKeys(fetch_from(str(settings.jwt_jwks), client), clock, jwks)
    lag, metrics, redis_watch = Lag(), Metrics(), RedisWatch()
    heard = Dependency("transitions")
    metrics.watch((kafka, redis, opa, jwks, heard))
    metrics.watch_lag(lag, clock)
    open_reader, reads = opener(settings), Reads(store, clock, log)
    feed = Feed(open_reader, settings.partitions, heard, metrics)
    tasks: list[Task] = [
        lambda: keep(kafka, log.run, log.lost),
        lambda: keep(redis, replies.run, replies.lost),
        lambda: keep(heard, feed.run, feed.lost),
        lambda: keep(jwks, keys.run, keys.lost),
        lambda: lag.watch(store, log.ends, clock),
        lambda: redis_watch.run(commands_client, durable=not embedded),
    ]
    authoriser: Authoriser
    if settings.opa_url == "embedded":
        authoriser = EmbeddedPolicy(policy_folder(), opa)
    else:
        server = OpaServer(settings.opa_url, opa_client, opa)
        authoriser = server
        tasks.append(lambda: keep(opa, server.run, server.lost))
    services = Services(
        clock=clock,
        verifier=Verifier(keys, str(settings.jwt_issuer), str(settings.jwt_audience), settings.jwt_tenant_claim),
        authoriser=authoriser,
        limiter=RedisLimiter(commands_client, settings.redis_prefix, limits, clock),
        commands=Commands(
            log=log,
            store=store,
            replies=replies,
            partitions=settings.partitions,
            metrics=metrics,
            clock=clock,
        ),
        emitter=Emitter(log, settings.partitions),
        reads=reads,
        metrics=metrics,
        status=Status((kafka, redis, opa, jwks, heard), lag, clock, redis_watch),
        streams=Streams(feed, Catchup(open_reader), reads, store, metrics, clock),
        tenants=Tenants(store, log, settings.partitions, clock),
    )

    def release() -> None:
        replies.release()
        feed.release()

    closing = [client.aclose, opa_client.aclose, commands_client.aclose, replies_client.aclose]
    return Wiring(services, tasks, release, closing)


async def _end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel tasks, again and again until they have ended.

    A connection that fails to close as its task is cancelled puts its error in the place of the cancel, and whoever
    tries a lost one again would go on for ever.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


def create_app(wiring: Wiring) -> FastAPI:
    """Return the application over a wiring.

    Args:
        wiring: from `wire`, or of fakes.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = [asyncio.create_task(_run(task)) for task in (*wiring.tasks, wiring.services.status.begin)]
        try:
            yield
        finally:
            await _end(running)
            for close in wiring.closing:
                try:
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await close()
                except LOST as error:
                    # Its connections end with the process, which is not to stay for them.
                    log.warning("client_not_closed", finding=describe(error))

    app = FastAPI(
        title=build.DISTRIBUTION,
        version=build.version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = wiring.services
    for error in (ProblemError, UnavailableError, HTTPException, RequestValidationError):
        app.add_exception_handler(error, on_problem)
    for room in (sleep, operations, mode, policy, breakers, events, tenants, service):
        app.include_router(room.router)
    app.add_middleware(Edge, metrics=wiring.services.metrics, clock=wiring.services.clock)
    return app
