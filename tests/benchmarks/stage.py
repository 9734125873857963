"""An installation to be measured: its workers and its API, and a warm-up that lasts until figures stand still."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.benchmarks.processor_time import Meter
from tests.services import Namespace, Service, Services
from tests.support.installation import ApiClient, Installation, Process

UNLIMITED: Final = '{"*": "9000000/minute"}'
"""Rate limits that are counted, as they always are, but not met."""
MOST_WARM_UP_ROUNDS: Final = 24
STEADY: Final = 0.05
STEADY_ROUNDS: Final = 3
"""How far the processor time of Kafka for a unit may differ among how many rounds in a row: its compiler has then done
most of its work."""


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
        installation.environment["SLEEP_LOG_FORMAT"] = "json"  # the default of the product
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

    Where Kafka is embedded, its time is not its own: a quarter of the rounds are then made.
    """
    last: deque[float] = deque(maxlen=STEADY_ROUNDS)
    for number in range(MOST_WARM_UP_ROUNDS):
        before = meter.read()
        units = await work()
        spent = meter.spent(before, units).get("kafka")
        if spent is None:
            if number >= MOST_WARM_UP_ROUNDS // 4:
                return
            continue
        last.append(spent)
        if len(last) == STEADY_ROUNDS and max(last) - min(last) <= STEADY * max(last):
            return
