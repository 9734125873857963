"""A worker and an API that the tests of a module share; a module may have others of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from schemas.settings import Settings
from tests.services import Client, Namespace, Services, redis_client
from tests.support.fakes import FakeStore
from tests.support.installation import ApiClient, Installation
from worker import ports
from worker.adapters.redis_store import LaneStore

PARTITIONS: Final = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    services: Services, module_namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """One worker on four partitions."""
    directory: Path = tmp_path_factory.mktemp("installation")
    async with Installation.open(services, module_namespace, directory, partitions=PARTITIONS) as opened:
        opened.start("worker")
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(installation: Installation) -> ApiClient:
    """The API in front of it, once a command has gone through."""
    door = await installation.open_door()
    async with asyncio.timeout(60), door.client("warm-up") as client:
        while (await client.post("/api/brain/sleep_mode", json={"target_state": "active"})).status_code != 200:
            await asyncio.sleep(0.2)
    return door


def settings_of(services: Services, namespace: Namespace) -> Settings:
    """Return settings with the real Redis, under a prefix of its own."""
    return Settings.model_validate(
        {"kafka_bootstrap": services.kafka, "redis_url": services.redis, "redis_prefix": namespace.redis_prefix}
    )


@pytest.fixture
async def real(services: Services, namespace: Namespace) -> AsyncIterator[LaneStore]:
    """A store on the real Redis, under a prefix of its own."""
    store = LaneStore.connect(settings_of(services, namespace))
    yield store
    await store.close()


@pytest.fixture
async def redis(services: Services) -> AsyncIterator[Client]:
    """A client of its own, to look behind the store."""
    client = redis_client(services.redis)
    yield client
    await client.aclose()


@pytest.fixture(params=["fake", "redis"])
def store(request: pytest.FixtureRequest) -> ports.Store:
    """Each store in turn."""
    if request.param == "fake":
        return FakeStore()
    redis_store: ports.Store = request.getfixturevalue("real")
    return redis_store
