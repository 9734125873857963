"""A worker and an API, and ways to delete and to make their topics."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import httpx
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.wire.cloudevents import STRUCTURED_HEADERS
from tests.support.installation import ApiClient, Installation
from worker.adapters.kafka_topics import TopicAdmin
from worker.ports import Output

PARTITIONS = 2
MODE = "/api/brain/sleep_mode"
SOON_SECONDS = 45.0


class WorkerAndApi:
    """A worker and an API on topics that are deleted."""

    def __init__(self, installation: Installation, worker: str, door: ApiClient) -> None:
        self.installation = installation
        self.pages = (worker, door.url)
        self.door = door

    async def works(self) -> None:
        """Wait until a command is answered with its outcome, and both status are well."""
        async with asyncio.timeout(90), self.door.client("acme") as client:
            while (await client.post(MODE, json={"target_state": "light"})).status_code != httpx.codes.OK:
                await asyncio.sleep(0.2)
        for page in self.pages:
            await wait_for_page(page, lambda status: status["status"] == "ok")

    async def delete(self, topic: str) -> None:
        """Delete a topic, and wait until the broker has none of it."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.installation.settings.kafka_bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([topic])
            async with asyncio.timeout(SOON_SECONDS):
                while topic in await admin.list_topics():
                    await asyncio.sleep(0.1)
        finally:
            await admin.close()

    async def make(self, topic: str, partitions: int) -> None:
        """Make a topic as a broker makes it by itself."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.installation.settings.kafka_bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, partitions, 1)])
        finally:
            await admin.close()

    async def names(self) -> list[str]:
        """Return the topics that there are."""
        async with TopicAdmin(self.installation.settings) as admin:
            return list(await admin._admin.list_topics())  # noqa: SLF001 - our own client, which creates none

    async def create(self) -> list[str]:
        """Do what `sleepctl topics create` does."""
        async with TopicAdmin(self.installation.settings) as admin:
            return await admin.create()

    async def emit_rubbish(self) -> None:
        """Append a record that becomes a dead letter."""
        topic = self.installation.settings.topics.events
        await self.installation.outputs.send(topic, 0, [Output(b"x", uuid.uuid4().bytes, STRUCTURED_HEADERS)])


async def wait_for_page(url: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until a status page is as wanted, and return it.

    Raises:
        AssertionError: with the page, if it is not so in time.
    """
    page: dict[str, Any] = {}
    try:
        async with asyncio.timeout(SOON_SECONDS), httpx.AsyncClient(base_url=url, timeout=30) as client:
            while True:
                page = (await client.get("/status")).json()
                if wanted(page):
                    return page
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{url} says {page}") from None
