"""Those who write to Kafka while everything fails: all types of events, and rubbish, on both topics that take any."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any, Final

from aiokafka.errors import KafkaError
from pydantic_core import from_json

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from schemas.wire.cloudevents import MAX_BYTES, STRUCTURED_HEADERS
from tests.faults.gate import Gate
from tests.support.events import event_bytes
from tests.support.installation import Installation
from tests.support.load import RUBBISH, rules_for_all, tenant_load
from tests.support.records import Sent
from worker.adapters.kafka_producer import KafkaOutputs
from worker.ports import Output

TENANTS: Final = 60
_SOURCE: Final = "urn:test:emitter"
_RUBBISH_SOURCE: Final = "urn:test:rubbish"
# Ids of commands come again within an epoch; times of breaker events are near its begin.
_EPOCH_SECONDS: Final = 10.0
_BURST: Final = (1, 5, 20, 60)
_RULES: Final[tuple[dict[str, Any], ...]] = (
    {"policy": {"ceiling": "deep"}, "retire_after_seconds": 60},
    {"policy": {"breakers": [{"match": "pay*", "quorum": 2}], "min_sleep_seconds": 1}, "retire_after_seconds": 60},
    {"policy": {"enforce": False}},
    {},
)


class Emitters:
    """Writes bursts to the events topic, and to the ingress topic.

    Args:
        installation: whose topics.
        gate: holds them up where nothing is to be written.
        seed: makes the same events again, but for the times in them.
        rate: events a second, about, on the events topic; a fifth as many come through ingress.
    """

    def __init__(self, installation: Installation, gate: Gate, seed: int, rate: float) -> None:
        self.written = 0
        self.lost_acks = 0
        self._installation = installation
        self._gate = gate
        self._random = random.Random(seed)
        self._rate = rate
        self._outputs = KafkaOutputs(installation.settings)
        self._ingress_number = 0

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            await self._outputs.start()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write_events())
                group.create_task(self._write_ingress())
        finally:
            await self._outputs.stop()

    async def _write_events(self) -> None:
        chance, partitions = self._random, self._installation.settings.partitions
        epoch = 0
        while True:
            now = time.time_ns() // 1_000_000
            load = tenant_load(
                chance.getrandbits(32), 10**9, tenants=TENANTS, partitions=partitions, now=now, ids=f"{epoch}-"
            )
            if epoch % 2:
                await self._write(rules_for_all(epoch, chance.choice(_RULES), partitions))
            end = time.monotonic() + _EPOCH_SECONDS
            while time.monotonic() < end:
                burst = list(islice(load, chance.choice(_BURST)))
                if chance.random() < 0.1:
                    burst.append(self._rubbish())
                await self._write(burst)
                await asyncio.sleep(chance.expovariate(self._rate / len(burst)))
            epoch += 1

    async def _write(self, burst: list[Sent]) -> None:
        by_partition: dict[int, list[Output]] = {}
        for sent in burst:
            key = None if sent.tenant is None else sent.tenant.encode()
            by_partition.setdefault(sent.partition, []).append(Output(key, sent.value, STRUCTURED_HEADERS))
        for partition, outputs in by_partition.items():
            await self._send(self._installation.settings.topics.events, partition, outputs)

    async def _send(self, topic: str, partition: int, outputs: list[Output]) -> None:
        async with self._gate.passing():
            try:
                await self._outputs.send(topic, partition, outputs)
            except KafkaError:
                # They may be in the log or not; the log says it.
                self.lost_acks += 1
                await self._renew()
            else:
                self.written += len(outputs)

    async def _renew(self) -> None:
        """Connect again, as an emitter that lost its broker for good would."""
        await asyncio.wait([asyncio.ensure_future(self._outputs.stop())], timeout=5)
        self._outputs = KafkaOutputs(self._installation.settings)
        await _until_done(self._outputs.start)

    def _rubbish(self) -> Sent:
        """Return an event that must become a dead letter: on a partition that is not its tenant's, or too large."""
        chance, partitions = self._random, self._installation.settings.partitions
        tenant = f"tenant-{chance.randrange(TENANTS)}"
        data: dict[str, Any] = {"breaker": "payments", "state": "open"}
        partition = partition_of(tenant, partitions)
        if chance.random() < 0.2:
            data["padding"] = "x" * MAX_BYTES
        else:
            partition = (partition + 1) % partitions
        return Sent(tenant, _breaker(tenant, "rubbish", _RUBBISH_SOURCE, data), partition)

    async def _write_ingress(self) -> None:
        """Write to the ingress topic with a partitioner of our own, mostly without a time."""
        chance, settings = self._random, self._installation.settings
        while True:
            outputs = [self._ingress_event() for _ in range(chance.choice(_BURST) // 5 + 1)]
            await self._send(settings.topics.breakers, chance.randrange(settings.partitions), outputs)
            await asyncio.sleep(chance.expovariate(self._rate / 5 / len(outputs)))

    def _ingress_event(self) -> Output:
        chance = self._random
        tenant = f"tenant-{chance.randrange(TENANTS)}"
        self._ingress_number += 1
        if chance.random() < 0.02:
            return Output(None, chance.choice(RUBBISH), STRUCTURED_HEADERS)
        if chance.random() < 0.02:
            data = {"operation_id": f"i-{self._ingress_number}", "target": "deep", "ttl_ms": 1_000, "actor": "rubbish"}
            value = event_bytes(events.OPERATION, data, tenant, id_="i", source=_RUBBISH_SOURCE)
            return Output(None, value, STRUCTURED_HEADERS)
        data = {
            "breaker": chance.choice(("ledger", "mail")),
            "instance": f"pod-{chance.randrange(2)}",
            "state": chance.choice(("closed", "open", "half_open")),
        }
        return Output(b"any", _breaker(tenant, f"i-{self._ingress_number}", _SOURCE, data), STRUCTURED_HEADERS)


def _breaker(tenant: str, id_: str, source: str, data: dict[str, Any]) -> bytes:
    return event_bytes(events.BREAKER, data, tenant, id_=id_, source=source)


def is_rubbish(value: bytes | None) -> bool:
    """Tell whether a record was sent to become a dead letter."""
    return value in RUBBISH or (value is not None and _RUBBISH_SOURCE.encode() in value)


def ingress_id(value: bytes | None) -> str | None:
    """Return the id of an event that came, or is to come, through ingress; None for any other record."""
    if value is None or _SOURCE.encode() not in value:
        return None
    event_id: str = from_json(value)["id"]
    return event_id


async def _until_done(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    while True:
        try:
            await work()
        except (KafkaError, OSError):
            await asyncio.sleep(0.5)
        else:
            return
