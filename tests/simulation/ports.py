"""What a virtual worker sees of the servers: the protocols of `worker.ports` over the network."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaError
from pydantic_core import from_json
from redis.exceptions import TimeoutError as RedisTimeoutError

from schemas.names import Topics
from tests.simulation.loop import Machine
from tests.simulation.network import Network
from tests.simulation.servers import Broker, Database, TrueClock, run_now
from tests.support.fakes import FakeReader
from worker.ports import Commit, Due, Loaded, OperationKey, Output, Page, PartitionStatus

_T = TypeVar("_T")
STORE: Final = "store"
LOG: Final = "log"
# Those of the real clients.
_STORE_SECONDS: Final = 5.0
_LOG_SECONDS: Final = 10.0


class WorkersClock:
    """A worker's own clock, which may be wrong and whose sleeps may take longer.

    Attributes:
        ahead_ms: by how much it is wrong, may be negative.
        late: how likely a sleep is to take longer.
        latest: the latest time that it ever told.
    """

    def __init__(self, clock: TrueClock, chance: random.Random, late: float) -> None:
        self.ahead_ms = 0
        self.late = late
        self.latest = 0
        self._clock = clock
        self._random = chance

    def now(self) -> int:
        now = self._clock.now() + self.ahead_ms
        self.latest = max(self.latest, now)
        return now

    async def sleep(self, seconds: float) -> None:
        if self._random.random() < self.late:
            seconds += self._random.choice((0.01, 0.3, 2.0))
        await asyncio.sleep(seconds)


class StorePort:
    """`worker.ports.Store` of one worker."""

    def __init__(self, machine: Machine, network: Network, database: Database) -> None:
        self._machine = machine
        self._network = network
        self._database = database

    async def partition_status(self, partition: int) -> PartitionStatus:
        return await self._call("partition_status", lambda: self._database.partition_status(partition))

    async def load(
        self, partition: int, position: int, tenants: Sequence[str], operations: Sequence[OperationKey]
    ) -> Loaded | None:
        return await self._call("load", lambda: self._database.load(partition, position, tenants, operations))

    async def commit(self, partition: int, commit: Commit) -> bool:
        return await self._call("commit", lambda: self._database.commit(partition, commit))

    async def due(self, partition: int, after: int, now: int, skip: int, most: int) -> Due:
        return await self._call("due", lambda: self._database.due(partition, after, now, skip, most))

    async def scan(self, partition: int, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        return await self._call("scan", lambda: self._database.scan(partition, cursor, count))

    async def _call(self, name: str, act: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        return await self._network.call(
            self._machine, STORE, name, lambda: run_now(act()), RedisTimeoutError, seconds=_STORE_SECONDS
        )


class LogPort:
    """`worker.ports.Outputs`, `Reader` and `Bounds` of one worker.

    Attributes:
        early: timers that were sent before their time by the worker's own clock; there must be none.
    """

    def __init__(self, machine: Machine, network: Network, broker: Broker, topics: Topics, clock: WorkersClock) -> None:
        self.topics = topics
        self.early: list[str] = []
        self._machine = machine
        self._network = network
        self._broker = broker
        self._clock = clock
        self._reader = FakeReader(broker)
        self._reader.faults.latency = _at_once

    async def send(self, topic: str, partition: int, outputs: Sequence[Output]) -> int | None:
        if not outputs:
            return None
        if topic == self.topics.events:
            self._look_for_early(outputs)
        name = {self.topics.events: "send:events", self.topics.states: "send:states"}.get(topic, "send:transitions")
        log = self._broker.log(topic, partition)
        sent = list(outputs)
        return await self._call(name, lambda: log.append(sent), ordered=True)

    async def dead_letters(self, partition: int, outputs: Sequence[Output]) -> None:
        log = self._broker.log(self.topics.deadletter, partition)
        sent = list(outputs)
        await self._call("deadletter", lambda: log.append(sent), ordered=True)

    async def offset_range(self, partition: int) -> tuple[int, int]:
        log = self._broker.log(self.topics.events, partition)
        return await self._call("offset_range", lambda: (log.start, log.end))

    async def end(self, topic: str, partition: int) -> int:
        return await self._call("end", lambda: run_now(self._reader.end(topic, partition)))

    async def read(self, topic: str, partition: int, offset: int, most: int) -> Page:
        return await self._call("read", lambda: run_now(self._reader.read(topic, partition, offset, most)))

    async def _call(self, name: str, act: Callable[[], _T], *, ordered: bool = False) -> _T:
        return await self._network.call(
            self._machine, LOG, name, act, KafkaError, seconds=_LOG_SECONDS, ordered=ordered
        )

    def _look_for_early(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            event = from_json(output.value or b"")
            if event["data"]["due_at"] > self._clock.latest:
                self.early.append(f"{event['subject']} before {event['data']['due_at']}")


async def _at_once() -> None:
    """As in `servers`."""
