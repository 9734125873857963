"""What is attacked: a worker and an API on real services, and ways to measure what an attack does to them."""

import asyncio
import itertools
import time
from collections.abc import Coroutine
from contextlib import suppress
from statistics import median
from typing import Any, Final

import httpx

from schemas.kafka.partitioner import partition_of
from schemas.kafka.source_record import SourceRecord
from schemas.wire import events
from schemas.wire.cloudevents import STRUCTURED_HEADERS, encode
from sleepctl.io.signing_keys import TokenClaims
from tests.services import Client
from tests.services.probe import free_port
from tests.support.installation import AUDIENCE, ISSUER, ApiClient, Installation, Process
from tests.support.records import Sent
from tests.support.resident import peak_mib, reset_peak, resident_mib
from worker.ports import Output

PARTITIONS: Final = 4
MODE: Final = "/api/brain/sleep_mode"
SLEEP: Final = "/api/util/sleep"
POLICY: Final = "/api/brain/sleep_policy"
EMIT: Final = "/api/breakers/events"
# How far over its bound a figure may go before the attack is stopped: enough to show that it succeeds.
_CAP: Final = 4
# What is freed late, or grows late, is seen too.
_AFTER_SECONDS: Final = 0.5
_PROBES: Final = 25
_PROBE_SECONDS: Final = 20.0
# Below this, a ratio says more about the scheduler than about the attack.
_LEAST_QUIET_SECONDS: Final = 0.02


class Target:
    """A worker and an API that are attacked, and the services under them.

    Attributes:
        installation: topics, store and tokens.
        redis: a client of its Redis.
        worker, page: the worker's process, and where its page is.
        door: the API.
        small: an API with small budgets, once one was needed.
        short: whether the shortened form is run.
        seconds: how long an attack goes on that has no end of its own.
    """

    worker: Process
    page: str
    door: ApiClient

    def __init__(self, installation: Installation, redis: Client, *, short: bool) -> None:
        self.installation = installation
        self.redis = redis
        self.short = short
        self.seconds = 3.0 if short else 8.0
        self.small: ApiClient | None = None
        self._numbers = itertools.count()

    async def start(self) -> None:
        """Start both, and wait until a command is answered and every page was asked once."""
        port = free_port()
        self.page = f"http://127.0.0.1:{port}"
        self.worker = self.installation.start("worker", SLEEP_WORKER_METRICS_PORT=str(port))
        self.door = await self.installation.open_door()
        await self.works(self.door)
        async with httpx.AsyncClient(timeout=30) as client:
            for url in (self.page, self.door.url):
                for _ in range(5):
                    await client.get(f"{url}/status")
                    await client.get(f"{url}/metrics")
            await client.get(f"{self.door.url}/openapi.json")

    async def restart(self) -> None:
        """End both at once and start others: what an attack has done to a process is not the next one's."""
        for process in (self.worker, self.door.process):
            if process.running:
                await asyncio.to_thread(process.kill)
        await self.start()

    async def works(self, door: ApiClient) -> None:
        """Wait until a command is answered with its outcome."""
        async with door.client(self.tenant()) as client, asyncio.timeout(60):
            while (await client.post(MODE, json={"target_state": "active"})).status_code != httpx.codes.OK:
                await asyncio.sleep(0.2)

    def tenant(self) -> str:
        """Return the name of a tenant that nobody has used yet."""
        return f"victim-{next(self._numbers)}"

    def token(self, tenant: str, scope: str, subject: str = "attacker") -> str:
        """Return a valid token."""
        return self.installation.key.token(TokenClaims(ISSUER, AUDIENCE, subject, scope, tenant, 3600))

    async def growth(self, process: Process, work: Coroutine[Any, Any, object], most: float) -> float:
        """Return by how many MiB a process grew at most while something was done; ends it far beyond the bound."""
        before = resident_mib(process.pid)
        reset_peak(process.pid)
        task = asyncio.create_task(work)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=0.05)
                # A process that has ended has no size: that is an error here, and so an attack that succeeded.
                if resident_mib(process.pid) - before > _CAP * most:
                    break
            else:
                task.result()
                await asyncio.sleep(_AFTER_SECONDS)
            return peak_mib(process.pid) - before
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(task, return_exceptions=True)

    async def slowdown(self, work: Coroutine[Any, Any, object]) -> float:
        """Return how many times longer an innocent tenant waits (p50) while something is done, than in quiet."""
        async with self.door.client(self.tenant()) as client:
            quiet = max(await _p50(client), _LEAST_QUIET_SECONDS)
            task = asyncio.create_task(work)
            try:
                await asyncio.sleep(_AFTER_SECONDS)
                return await _p50(client) / quiet
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.gather(task, return_exceptions=True)

    async def fold_delay(self) -> float:
        """Return how many seconds an innocent tenant's event takes from Kafka to Redis."""
        tenant = self.tenant()
        partition = partition_of(tenant, PARTITIONS)
        began = time.monotonic()
        await self.installation.write([Sent(tenant, breaker(tenant), partition)])
        while not await self.present(tenant):
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def ingress_delay(self, seconds: float = 60.0) -> float:
        """Return how many seconds an innocent tenant's event takes from ingress to Redis.

        Raises:
            TimeoutError: if it takes longer than `seconds`.
        """
        tenant = self.tenant()
        began = time.monotonic()
        output = Output(tenant.encode(), breaker(tenant), STRUCTURED_HEADERS)
        await self.installation.outputs.send(self.installation.settings.topics.breakers, 0, [output])
        async with asyncio.timeout(seconds):
            while not await self.present(tenant):
                await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def present(self, tenant: str) -> bool:
        """Tell whether Redis has a record of a tenant."""
        keys = self.installation.store.keys(partition_of(tenant, PARTITIONS))
        # A client's answers have the type of whatever was asked.
        client: Any = self.redis
        return bool(await client.hexists(keys.tenants, tenant))

    async def published(self, topic: str) -> dict[int, int]:
        """Return where each partition of a topic ends; give it to `bytes_since` later."""
        return await self.installation.ends(topic)

    async def bytes_since(self, topic: str, since: dict[int, int], sample: int = 50) -> float:
        """Return about how many bytes came to a topic since: the mean size of the last few, times their number."""
        total = 0.0
        for partition, end in (await self.installation.ends(topic)).items():
            begin = since.get(partition, 0)
            if end > begin:
                records = await self.installation.read(topic, partition, end, start=max(begin, end - sample))
                sizes = [_size(record) for record in records]
                total += (end - begin) * sum(sizes) / max(len(sizes), 1)
        return total


def breaker(tenant: str, state: str = "open", name: str = "payments", **data: object) -> bytes:
    """Return an event of a breaker."""
    body = {"breaker": name, "instance": "pod-1", "state": state, **data}
    return encode(type_=events.BREAKER, id_="a", source="urn:attack", subject=tenant, time=None, data=body)


def _size(record: SourceRecord) -> int:
    headers = sum(len(name) + len(content or b"") for name, content in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers


async def _p50(client: httpx.AsyncClient) -> float:
    """Return the median time of reads and commands; what is refused or breaks counts as the longest wait."""
    taken = []
    began = time.monotonic()
    for number in range(_PROBES):
        at = time.monotonic()
        try:
            if number % 5:
                answer = await client.get(MODE)
            else:
                answer = await client.post(MODE, json={"target_state": "light"})
            well = answer.is_success
        except httpx.TransportError:
            well = False
        taken.append(time.monotonic() - at if well else _PROBE_SECONDS)
        if time.monotonic() - began > _PROBE_SECONDS:
            break
    return median(taken)
