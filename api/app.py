"""The application, wired in one place. Importing this opens nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import client as aiokafka_client
from fastapi import FastAPI
from starlette.routing import Route

from api.adapters.dependency import Dependency, describe, keep
from api.adapters.kafka_events import KafkaEvents
from api.adapters.kafka_group import KafkaGroup
from api.adapters.redis_limiter import RedisLimiter
from api.adapters.redis_receipts import RedisReceipts
from api.adapters.redis_states import RedisStates
from api.adapters.redis_store import REDIS, RedisStore, Writes, connect
from api.adapters.redis_turns import RedisTurns
from api.adapters.transitions import OpenPlacedReader, opener
from api.commands.emit import Emitter
from api.commands.log_time import LogTime
from api.commands.replies import RedisReplies
from api.commands.submit import Commands
from api.console import routes as console_routes
from api.console.issuer import DISCOVERY, Issuer
from api.console.sign_in_codes import SignInCodes
from api.http.facade import Facade
from api.http.head import HeadAsGet
from api.http.head_bounds import LeanHead
from api.http.middleware import RequestMiddleware
from api.observability.census import Census
from api.observability.counts_history import CountsHistory
from api.observability.lag import Lag
from api.observability.metrics import Metrics
from api.observability.pages import pages_of
from api.observability.status import Status
from api.observability.traced import traced_log
from api.queries.completeness import SharedTraces, require_known
from api.queries.partitions import Partitions
from api.queries.tenant import Reads
from api.queries.tenant_list import Tenants
from api.routes import audit as audit_routes
from api.routes import (
    breakers,
    deadletters,
    events,
    mode,
    operations,
    permissions,
    platform,
    policy,
    reports,
    service,
    sleep,
    tenants,
)
from api.routes import states as states_routes
from api.security.embedded_policy import EmbeddedPolicy, policy_folder
from api.security.in_flight import InFlight
from api.security.jwks import JwksKeys, fetch_from
from api.security.jwks_client import http_client
from api.security.opa import ENDPOINT, Authoriser, OpaServer
from api.security.opa_client import OpaClient
from api.security.rate_limits import parse_limits
from api.security.refused_budget import RefusedRequests
from api.security.tokens import Verifier
from api.services import Services
from api.states.feed import StatesFeed
from api.states.streams import StateStreams
from api.streaming.catchup import Catchup
from api.streaming.feed import Feed
from api.streaming.streams import Streams
from api.topic_pages.audit import BOUNDS as AUDIT_BOUNDS
from api.topic_pages.audit import Audit
from api.topic_pages.dead_letters import BOUNDS as DEAD_LETTER_BOUNDS
from api.topic_pages.dead_letters import DeadLetters
from api.topic_pages.newest_first import NewestFirst, page_places
from schemas import build_info as build
from schemas.clock import Clock, monotonic_ms, now_ms
from schemas.formats.settings import http_formats
from schemas.http.counted import PROBES
from schemas.http.pace import Pace, Turns
from schemas.http.server import Member
from schemas.kafka.topic_check import create_no_topics
from schemas.redis.client import OUTAGE, Primaries
from schemas.redis.watch import RedisWatch
from schemas.settings import Settings
from schemas.tasks import end_tasks

if TYPE_CHECKING:
    from schemas.tracing.tracing import Tracing

DESCRIPTION: Final = "Decides, per tenant, how deep a shared platform sleeps. Commands go through one ordered log."

ROUTERS: Final = tuple(
    subject.router
    for subject in (
        sleep,
        operations,
        mode,
        policy,
        breakers,
        reports,
        events,
        states_routes,
        tenants,
        audit_routes,
        permissions,
        platform,
        deadletters,
        service,
    )
)
"""Every endpoint, by subject."""
PAGES_A_SECOND: Final = 100
"""How many requests for pages without a token are served per second, probes aside. Metrics take about 2 ms."""
_PAGES: Final = frozenset(route.path for route in service.router.routes if isinstance(route, Route)) - PROBES
CONSOLE_FILES_A_SECOND: Final = 300
"""How many files of the console are served per second. A reader loads about 35 at once."""
_RESTART_SECONDS: Final = 5.0
_CANCEL_AGAIN_SECONDS: Final = 1.0
END_SECONDS: Final = 5.0
"""How long the background tasks may take to end once they are cancelled."""
CLOSE_SECONDS: Final = 5.0
"""How long the clients may take to close."""

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
        console: whether the console is served.
        issuer: signs readers of the console in.
        sign_in: codes that sign readers of the console in.
    """

    services: Services
    tasks: list[Task] = field(default_factory=list)
    release: Callable[[], None] = lambda: None
    closing: Sequence[Callable[[], Awaitable[Any]]] = field(default_factory=list)
    console: bool = True
    issuer: Issuer | None = None
    sign_in: SignInCodes | None = None


async def _run(task: Task) -> None:
    """Run a background task. Restart it after a failure, and log the failure."""
    while True:
        try:
            await task()
        except Exception:
            log.exception("background_task_failed")
            if (current := asyncio.current_task()) is not None and current.cancelling():
                raise
            await asyncio.sleep(_RESTART_SECONDS)
        else:
            return


def wire(
    settings: Settings,
    clock: Clock = now_ms,
    *,
    monotonic: Clock = monotonic_ms,
    embedded: bool = False,
    member: Member | None = None,
    sign_in: SignInCodes | None = None,
    tracing: "Tracing | None" = None,
) -> Wiring:
    """Build all parts from the settings. Nothing connects before the application starts.

    Args:
        settings: the settings.
        clock: the wall clock.
        monotonic: a clock that nobody sets.
        embedded: whether Redis is the embedded one, whose data ends with the process.
        member: given to one of several processes, whose pages are about all of them.
        sign_in: codes that sign readers of the console in.
        tracing: makes spans; None if tracing is off.

    Raises:
        SettingsError: if a setting that the API needs is absent, or a rate limit is wrong.
    """
    settings.require("jwt_jwks", "jwt_issuer", "jwt_audience")
    limits = parse_limits(settings)
    create_no_topics(aiokafka_client)
    kafka, redis, opa, jwks = (Dependency(name) for name in ("kafka", REDIS, "opa", "jwks"))
    client = http_client(str(settings.jwt_jwks), proxy=settings.jwt_jwks_proxy)
    commands_client, replies_client = connect(settings, shared=True), connect(settings, retries=0)
    watch_client = connect(settings)

    writes, turns = Writes(), RedisTurns()
    store = RedisStore(commands_client, settings.redis_prefix, settings.partitions, turns)
    receipts = RedisReceipts(commands_client, settings.redis_prefix, settings.partitions, writes, turns)
    log_time = LogTime(clock, monotonic)
    log = KafkaEvents.of(settings, kafka, log_time)
    publishing = traced_log(log, settings.topics.events, tracing)
    replies = RedisReplies(replies_client, settings.redis_prefix, store.operation, redis)
    keys = JwksKeys(fetch_from(str(settings.jwt_jwks), client), monotonic, jwks)
    history = CountsHistory(clock)
    lag, census, metrics = Lag(), Census(settings.partitions, history.know), Metrics()
    redis_watch = RedisWatch(
        Primaries(watch_client, store.probes), durable=not embedded, clock=clock, last_write=writes
    )
    transitions, states = Dependency("transitions"), Dependency("states")
    metrics.watch((kafka, redis, opa, jwks, transitions, states))
    metrics.watch_lag(lag, settings.partitions, monotonic)
    metrics.watch_census(census)
    metrics.watch_redis(redis_watch)
    traces = SharedTraces(log)
    open_reader, reads = opener(settings, settings.topics.transitions), Reads(store, log_time.now, traces)
    feed = Feed(open_reader, settings.partitions, transitions, metrics)
    states_feed = StatesFeed(
        opener(settings, settings.topics.states),
        RedisStates(commands_client, settings.redis_prefix, settings.partitions, turns),
        partial(require_known, store, traces),
        settings.partitions,
        states,
        metrics,
        log_time.now,
    )
    closing: list[Callable[[], Awaitable[Any]]] = [
        client.aclose,
        commands_client.aclose,
        replies_client.aclose,
        watch_client.aclose,
    ]
    tasks: list[Task] = [
        lambda: keep(kafka, log.run, log.lost),
        lambda: keep(redis, replies.run, replies.lost),
        lambda: keep(transitions, feed.run, feed.lost),
        lambda: keep(states, states_feed.run, states_feed.lost),
        lambda: keep(jwks, keys.run, keys.lost),
        lambda: lag.watch(store, log.ends, monotonic),
        lambda: census.watch(store),
        redis_watch.run,
    ]
    authoriser: Authoriser
    if settings.opa_url == "embedded":
        authoriser = EmbeddedPolicy(policy_folder(), opa)
    else:
        opa_client = OpaClient(f"{settings.opa_url.rstrip('/')}{ENDPOINT}")
        closing.append(opa_client.aclose)
        server = OpaServer(opa_client, opa, metrics.policy_answered)
        authoriser = server
        tasks.append(lambda: keep(opa, server.run, server.lost))
    audit, dead_letters = _pages_of_topics(settings, open_reader, clock)
    status = Status(
        (kafka, redis, opa, jwks, transitions, states),
        lag,
        monotonic,
        redis_watch,
        [log_time.finding],
        lambda: log.health,
    )
    own_pages = pages_of(status, metrics)
    limiter = RedisLimiter(commands_client, settings.redis_prefix, settings.partitions, limits, receipts, writes, turns)
    streams = Streams(feed, Catchup(open_reader), reads, store, metrics, clock)
    services = Services(
        clock=clock,
        verifier=Verifier(keys, str(settings.jwt_issuer), str(settings.jwt_audience), settings.jwt_tenant_claim),
        authoriser=authoriser,
        in_flight=InFlight(),
        limiter=limiter,
        refused=RefusedRequests(limiter, monotonic),
        commands=Commands(
            log=publishing,
            receipts=receipts,
            replies=replies,
            partitions=settings.partitions,
            metrics=metrics,
            log_time=log_time,
        ),
        emitter=Emitter(publishing, settings.partitions),
        reads=reads,
        metrics=metrics,
        status=status,
        pages=own_pages if member is None else member.pages_of_all(own_pages),
        streams=streams,
        states=StateStreams(states_feed, streams),
        tenants=Tenants(store, traces, settings.partitions, log_time.now),
        audit=audit,
        dead_letters=dead_letters,
        partitions=Partitions(store, log.ends, traces, KafkaGroup.of(settings), lag, monotonic, log_time.now),
        history=history,
        formats=http_formats(settings.http_formats),
    )

    def release() -> None:
        replies.release()
        feed.release()
        states_feed.release()

    issuer = _issuer(settings, monotonic, closing)
    return Wiring(services, tasks, release, closing, settings.console, issuer, sign_in)


def _issuer(settings: Settings, monotonic: Clock, closing: list[Callable[[], Awaitable[Any]]]) -> Issuer | None:
    """Return the issuer that signs readers of the console in, None without one."""
    name, client_id = settings.console_oidc_issuer, settings.console_oidc_client_id
    if not settings.console or name is None or client_id is None:
        return None
    client = http_client(name, proxy=settings.jwt_jwks_proxy)
    closing.append(client.aclose)
    fetch = fetch_from(f"{name.rstrip('/')}{DISCOVERY}", client, "discovery document")
    return Issuer(name, client_id, str(settings.jwt_audience), fetch, monotonic)


def _pages_of_topics(settings: Settings, open_transitions: OpenPlacedReader, clock: Clock) -> tuple[Audit, DeadLetters]:
    """Return the pages of the audit and of the dead letters. They share the places of this process."""
    places = page_places()
    open_dead_letters = opener(settings, settings.topics.deadletter, any_count=True)
    return (
        Audit(NewestFirst(open_transitions, places, AUDIT_BOUNDS, clock), settings.partitions),
        DeadLetters(NewestFirst(open_dead_letters, places, DEAD_LETTER_BOUNDS, clock)),
    )


async def _end(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancel the background tasks until they end. Log those that do not end in time, and continue."""
    for name in await end_tasks(tasks, seconds=END_SECONDS, again=_CANCEL_AGAIN_SECONDS):
        log.error("background_task_not_ended", task=name, seconds=END_SECONDS)


async def _close(closing: Sequence[Callable[[], Awaitable[Any]]]) -> None:
    """Close the clients concurrently. Log those that do not close in time, and continue."""

    async def run(close: Callable[[], Awaitable[Any]]) -> None:
        await close()

    tasks = [asyncio.create_task(run(close), name=getattr(close, "__qualname__", "close")) for close in closing]
    _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS) if tasks else (set(), set())
    for task in tasks:
        if task in late:
            # Its connections end with the process, which does not wait for them.
            log.warning("client_not_closed", client=task.get_name(), finding=f"it takes over {CLOSE_SECONDS:g} s")
        elif isinstance(error := task.exception(), OUTAGE):
            log.warning("client_not_closed", client=task.get_name(), finding=describe(error))
        elif error is not None:
            log.error("client_not_closed", client=task.get_name(), finding=describe(error), exc_info=error)
    await end_tasks(late, seconds=_CANCEL_AGAIN_SECONDS)


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
            await _close(wiring.closing)

    app = Facade(
        wiring.services.metrics,
        wiring.services.clock,
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
    for router in ROUTERS:
        app.include(router)
    if wiring.console:
        app.include(console_routes.console_router(wiring.issuer, wiring.sign_in))
    app.add_middleware(HeadAsGet)
    app.add_middleware(LeanHead)
    app.add_middleware(RequestMiddleware, metrics=wiring.services.metrics, clock=wiring.services.clock)
    pages, files = Turns(PAGES_A_SECOND), Turns(CONSOLE_FILES_A_SECOND)

    def turns_of(path: str) -> Turns | None:
        return pages if path in _PAGES else files if path.startswith(console_routes.PATH) else None

    app.add_middleware(Pace, turns_of=turns_of, now=time.monotonic, sleep=asyncio.sleep)
    return app
