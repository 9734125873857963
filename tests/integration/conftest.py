"""A worker and an API that the tests of a module share; a module may have others of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.installation import Door, Installation
from tests.services import Namespace, Services

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
async def door(installation: Installation) -> Door:
    """The API in front of it, once a command has gone through."""
    door = await installation.open_door()
    async with asyncio.timeout(60), door.client("warm-up") as client:
        while (await client.post("/api/brain/sleep_mode", json={"target_state": "active"})).status_code != 200:
            await asyncio.sleep(0.2)
    return door
