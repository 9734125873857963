"""The application over fakes."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import httpx
import pytest
from jwt import PyJWK

from api.adapters.dependency import Dependency
from api.app import Wiring, create_app
from api.commands.emit import Emitter
from api.commands.log_time import LogTime
from api.commands.submit import Commands
from api.observability.counts_history import CountsHistory
from api.observability.lag import Lag
from api.observability.metrics import Metrics
from api.observability.pages import pages_of
from api.observability.status import Status
from api.queries.partitions import Partitions
from api.queries.tenant import Reads
from api.queries.tenant_list import Tenants
from api.security.in_flight import InFlight
from api.security.jwks import parse_jwks, pick
from api.security.refused_budget import RefusedRequests
from api.security.tokens import Verifier
from api.services import Services
from api.states.streams import StateStreams
from api.streaming.catchup import Catchup
from api.streaming.feed import Feed
from api.streaming.streams import Streams
from api.topic_pages.audit import BOUNDS as AUDIT_BOUNDS
from api.topic_pages.audit import Audit
from api.topic_pages.dead_letters import BOUNDS as DEAD_LETTER_BOUNDS
from api.topic_pages.dead_letters import DeadLetters
from api.topic_pages.newest_first import NewestFirst, page_places
from schemas.formats.settings import http_formats
from tests.support.tokens import AUDIENCE, ISSUER, jwks, token
from tests.unit.api.application import ApiOverFakes
from tests.unit.api.connection import Host
from tests.unit.api.contract import judge
from tests.unit.api.fakes import (
    FakeAuthoriser,
    FakeClock,
    FakeGroup,
    FakeLimiter,
    FakeLog,
    FakeReplies,
    FakeStore,
    unasked_redis,
)
from tests.unit.api.rows_topic import FakeRows
from tests.unit.api.states_topic import StatesSetup
from tests.unit.api.topic import PARTITIONS, FakeTopic


class FixedKeys:
    """The issuer's keys, always the same."""

    def __init__(self) -> None:
        self._keys = parse_jwks(jwks())

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        return pick(self._keys, kid, algorithm)


@pytest.fixture
async def api() -> AsyncIterator[ApiOverFakes]:
    """An application over fakes, in which everything works."""
    clock, log, store = FakeClock(), FakeLog(), FakeStore()
    log_time = LogTime(clock, clock)
    for partition in range(8):
        log_time.acknowledged(partition, None)
    replies, authoriser, limiter = FakeReplies(), FakeAuthoriser(), FakeLimiter(store)
    dependencies = [Dependency("kafka"), Dependency("redis")]
    for dependency in dependencies:
        dependency.mark_up()
    metrics = Metrics()
    metrics.watch(dependencies)
    topic, reads = FakeTopic(), Reads(store, clock, log)
    feed = Feed(topic.open, PARTITIONS, Dependency("transitions"), metrics)
    count = itertools.count(1)
    lag, history, group = Lag(), CountsHistory(clock), FakeGroup()
    transitions, dead_letters, places = FakeRows(), FakeRows(), page_places()
    status = Status(dependencies, lag, clock, unasked_redis())
    streams, states = Streams(feed, Catchup(topic.open), reads, store, metrics, clock), StatesSetup(metrics, PARTITIONS)
    services = Services(
        clock=clock,
        verifier=Verifier(FixedKeys(), ISSUER, AUDIENCE, "tenant_id"),
        authoriser=authoriser,
        in_flight=InFlight(),
        limiter=limiter,
        refused=RefusedRequests(limiter, clock),
        commands=Commands(
            log=log,
            receipts=store,
            replies=replies,
            partitions=8,
            metrics=metrics,
            log_time=log_time,
            new_id=lambda _: f"id-{next(count)}",
        ),
        emitter=Emitter(log, PARTITIONS),
        reads=reads,
        metrics=metrics,
        status=status,
        pages=pages_of(status, metrics),
        streams=streams,
        states=StateStreams(states.feed, streams),
        tenants=Tenants(store, log, PARTITIONS, clock),
        audit=Audit(NewestFirst(transitions.open, places, AUDIT_BOUNDS, clock), PARTITIONS),
        dead_letters=DeadLetters(NewestFirst(dead_letters.open, places, DEAD_LETTER_BOUNDS, clock)),
        partitions=Partitions(store, log.ends, log, group, lag, clock, clock),
        history=history,
        formats=http_formats(),
    )
    app = create_app(Wiring(services))
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {token()}"}
    hooks: dict[str, list[Callable[..., Any]]] = {"response": [partial(judge, app)]}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://api", headers=headers, event_hooks=hooks
    ) as client:
        yield ApiOverFakes(
            app=app,
            client=client,
            clock=clock,
            log=log,
            store=store,
            replies=replies,
            authoriser=authoriser,
            dependencies=dependencies,
            services=services,
            topic=topic,
            feed=feed,
            limiter=limiter,
            states=states,
            transitions=transitions,
            dead_letters=dead_letters,
            group=group,
            history=history,
            lag=lag,
        )


@pytest.fixture
async def host(api: ApiOverFakes) -> AsyncIterator[Host]:
    """The application with its shared consumer running."""
    api.store.applied = dict.fromkeys(range(8), 0)
    running = asyncio.create_task(api.feed.run())
    await api.topic.heard()
    yield Host(api)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def setup() -> AsyncIterator[StatesSetup]:
    """A list of states that is kept, and its clients."""
    async with StatesSetup() as made:
        yield made
