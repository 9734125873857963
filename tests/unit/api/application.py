"""The application over fakes, as the fixture `api` makes it."""

from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from api.adapters.dependency import Dependency
from api.observability.counts_history import CountsHistory
from api.observability.lag import Lag
from api.services import Services
from api.streaming.feed import Feed
from tests.unit.api.fakes import FakeAuthoriser, FakeClock, FakeGroup, FakeLimiter, FakeLog, FakeReplies, FakeStore
from tests.unit.api.rows_topic import FakeRows
from tests.unit.api.states_topic import StatesSetup
from tests.unit.api.topic import FakeTopic


@dataclass
class ApiOverFakes:
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
    states: StatesSetup
    transitions: FakeRows
    dead_letters: FakeRows
    group: FakeGroup
    history: CountsHistory
    lag: Lag
