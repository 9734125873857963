"""The application over fakes."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from jwt import PyJWK

from api.app import Wiring, create_app
from api.door.auth import Verifier
from api.door.keys import parse_jwks
from api.operate.dependency import Dependency
from api.operate.lag import Lag
from api.operate.metrics import Metrics
from api.operate.status import Status
from api.publish.commands import Commands
from api.publish.emit import Emitter
from api.read.tenants import Tenants
from api.read.views import Reads
from api.services import Services
from api.stream.catchup import Catchup
from api.stream.feed import Feed
from api.stream.streams import Streams
from tests.unit.api.fakes import (
    AUDIENCE,
    ISSUER,
    FakeAuthoriser,
    FakeClock,
    FakeLimiter,
    FakeLog,
    FakeReplies,
    FakeStore,
    jwks,
    token,
)
from tests.unit.api.topic import PARTITIONS, FakeTopic


class FixedKeys:
    """The issuer's keys, always the same."""

    def __init__(self) -> None:
        self._keys = parse_jwks(jwks())

    async def find(self, kid: str | None) -> PyJWK | None:
        return self._keys.get(kid)


@dataclass
class World:
    """An application, a client with a good token, and everything behind it."""

    app: FastAPI
    client: httpx.AsyncClient
    clock: FakeClock
    log: FakeLog
    store: FakeStore
    replies: FakeReplies
    authoriser: FakeAuthoriser
    dependencies: list[Dependency]
    services: Services
    topic: FakeTopic
    feed: Feed
    limiter: FakeLimiter


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An application over fakes, in which everything works."""
    clock, log, store = FakeClock(), FakeLog(), FakeStore()
    replies, authoriser, limiter = FakeReplies(), FakeAuthoriser(), FakeLimiter()
    dependencies = [Dependency("kafka"), Dependency("redis")]
    for dependency in dependencies:
        dependency.found_up()
    metrics = Metrics()
    metrics.watch(dependencies)
    topic, reads = FakeTopic(), Reads(store, clock, log)
    feed = Feed(topic.open, PARTITIONS, Dependency("transitions"), metrics)
    count = itertools.count(1)
    services = Services(
        clock=clock,
        verifier=Verifier(FixedKeys(), ISSUER, AUDIENCE, "tenant_id"),
        authoriser=authoriser,
        limiter=limiter,
        commands=Commands(
            log=log,
            store=store,
            replies=replies,
            partitions=8,
            metrics=metrics,
            clock=clock,
            new_id=lambda _: f"id-{next(count)}",
        ),
        emitter=Emitter(log, PARTITIONS),
        reads=reads,
        metrics=metrics,
        status=Status(dependencies, Lag(), clock),
        streams=Streams(feed, Catchup(topic.open), reads, store, metrics, clock),
        tenants=Tenants(store, log, PARTITIONS, clock),
    )
    app = create_app(Wiring(services))
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {token()}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
        yield World(app, client, clock, log, store, replies, authoriser, dependencies, services, topic, feed, limiter)
