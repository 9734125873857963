"""An installation to be measured: its workers and its API, and a warm-up that lasts until figures stand still."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.benchmarks.processor_time import Meter
from tests.services import Namespace, Service, Services
from tests.support.installation import ApiClient, Installation, Process

UNLIMITED: Final = '{"*": "9000000/minute"}'
"""Rate limits that are counted, as they always are, but not met."""
MOST_WARM_UP_ROUNDS: Final = 12
STEADY: Final = 0.05
"""How far two rounds' processor time of Kafka for a unit may differ: its compiler has then done most of its work."""


class Stage:
    """The processes of a measurement, all of one installation.

    Attributes:
        installation: topics, names, and ways to read them.
        workers: the worker processes.
        api: the API, None where a measurement needs none.
        meter: reads the processor time of all of them.
    """

    def __init__(
        self, installation: Installation, workers: list[Process], api: ApiClient | None, opa: Service | None
    ) -> None:
        self.installation = installation
        self.workers = workers
        self.api = api
        processes = {"worker": workers, "api": [] if api is None else [api.process]}
        self.meter = Meter(installation.services, processes, opa)

    @property
    def port(self) -> int:
        """The port of the API."""
        assert self.api is not None
        return int(self.api.url.rpartition(":")[2])


@asynccontextmanager
async def stage(
    services: Services, directory: Path, *, workers: int = 1, api: bool = False, opa: Service | None = None
) -> AsyncIterator[Stage]:
    """Start workers, and an API where one is wanted; end them afterwards.

    Without an OPA server the API's policy is embedded.
    """
    async with Installation.open(services, Namespace.fresh(), directory) as installation:
        started = [installation.start("worker") for _ in range(workers)]
        client = None
        if api:
            address = "embedded" if opa is None else opa.address
            client = await installation.open_door(SLEEP_RATE_LIMITS=UNLIMITED, SLEEP_OPA_URL=address)
        try:
            yield Stage(installation, started, client, opa)
        finally:
            for process in [*([client.process] if client else []), *started]:
                await asyncio.to_thread(process.stop)


async def warm_up(meter: Meter, work: Callable[[], Awaitable[int]]) -> None:
    """Repeat work until Kafka's processor time for one unit of it stands still; `work` returns how many units it did.

    Where Kafka is embedded, its time is not its own: half of the rounds are then made.
    """
    last: float | None = None
    for number in range(MOST_WARM_UP_ROUNDS):
        before = meter.read()
        units = await work()
        now = meter.spent(before, units).get("kafka")
        if now is None:
            if number >= MOST_WARM_UP_ROUNDS // 2:
                return
        elif last is not None and abs(now - last) <= STEADY * last:
            return
        last = now
