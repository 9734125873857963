"""Waiting until everything has been seen to, on services that may be away meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests.faults.fleet import Fleet
from tests.faults.verdict import SLACK_MS, now_ms
from tests.support.installation import Installation
from worker.ports import StoreError

_PATIENCE_SECONDS: Final = 180.0


class Peace:
    """What it means that an installation works, or is at rest."""

    def __init__(self, installation: Installation, fleet: Fleet) -> None:
        self._installation = installation
        self._fleet = fleet

    async def works(self) -> None:
        """Wait until a command is answered."""
        async with self._fleet.doors[0].client("warm-up") as client:

            async def answered() -> bool:
                answer = await client.post("/api/brain/sleep_mode", json={"target_state": "active"})
                return answer.status_code == httpx.codes.OK

            await self.until(answered)

    async def rest(self, seconds: float) -> None:
        """Wait until all is applied and forwarded, and nothing has been written for so many seconds."""
        last: dict[int, int] = {}
        since = time.monotonic()

        async def at_rest() -> bool:
            nonlocal last, since
            ends = await self._installation.ends()
            if ends != last:
                last, since = ends, time.monotonic()
                return False
            applied = await self._installation.applied()
            there = all(applied[number] >= end for number, end in ends.items()) and await self._forwarded()
            return there and time.monotonic() - since >= seconds and not await self._overdue()

        await self.until(at_rest)

    async def _forwarded(self) -> bool:
        """Tell whether the group of ingress has forwarded all of the ingress topic."""
        settings = self._installation.settings
        ends = await self._installation.ends(settings.topics.breakers)
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(settings.ingress_group)
        finally:
            await admin.close()
        done = {at.partition: each.offset for at, each in offsets.items() if at.topic == settings.topics.breakers}
        return all(done.get(number, 0) >= end for number, end in ends.items())

    async def _overdue(self) -> bool:
        """Tell whether a timer is due that nobody has seen to."""
        store, now = self._installation.store, now_ms()
        partitions = range(self._installation.settings.partitions)
        due = [await store.due(partition, -1, now - SLACK_MS // 2, 0, 1) for partition in partitions]
        return any(page.timers for page in due)

    async def until(self, met: Callable[[], Awaitable[bool]]) -> None:
        """Wait until a condition is met; a service that is away does not meet it.

        Raises:
            AssertionError: with where everybody stands, if it takes minutes.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                if await met():
                    return
            except (KafkaError, StoreError, httpx.TransportError):
                pass
            assert time.monotonic() < deadline, f"not within {_PATIENCE_SECONDS:g} s: {await self._standing()}"
            await asyncio.sleep(0.2)

    async def _standing(self) -> str:
        ends, applied = await self._installation.ends(), await self._installation.applied()
        return f"applied {applied} of {ends}; lanes {await self._fleet.lanes()}"
