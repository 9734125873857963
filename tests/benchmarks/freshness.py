"""From an event's append to its state being readable, at parts of the rate that a worker sustains."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.wire.cloudevents import STRUCTURED_HEADERS
from tests.benchmarks.end_state import require_plain_fold
from tests.benchmarks.figures import Figure, Latencies
from tests.benchmarks.stage import Stage, stage
from tests.benchmarks.throughput import EVENTS, breaker_event, heartbeats, worker_figure
from tests.services import Services
from tests.support.records import Sent

PARTS: Final = (10, 50, 90)
"""Percent of the sustainable rate."""
SECONDS: Final = 8.0
_TICK_SECONDS: Final = 0.01
_PROBES_A_SECOND: Final = 50
_STATES: Final = ("open", "closed")


async def freshness(services: Services, directory: Path) -> list[Figure]:
    """Measure how old a state is when a reader of the states topic sees it."""

    def load(count: int, partitions: int) -> Iterator[Sent]:
        return heartbeats(count, partitions)

    most = (await worker_figure("events", services, directory, load, EVENTS)).rate
    assert most is not None
    figures = []
    for part in PARTS:
        async with stage(services, directory) as ours:
            figures.append(await _ages(ours, f"event to state at {part} % of the rate", most * part / 100))
            await ours.installation.caught_up()
            await require_plain_fold(ours.installation)
    return figures


async def _ages(ours: Stage, name: str, rate: float) -> Figure:
    """Send heartbeats at a rate, and among them probes that change the state of tenants of their own."""
    installation = ours.installation
    settings = installation.settings
    background = itertools.cycle(list(heartbeats(50_000, settings.partitions)))
    ages: list[float] = []
    sent_at: dict[bytes, float] = {}
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, linger_ms=5, max_batch_size=131_072)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, fetch_max_wait_ms=5)
    await producer.start()
    await consumer.start()
    consumer.assign([TopicPartition(settings.topics.states, number) for number in range(settings.partitions)])
    await consumer.seek_to_end()
    stop = asyncio.Event()

    async def listen() -> None:
        while not stop.is_set():
            for records in (await consumer.getmany(timeout_ms=50)).values():
                now = time.perf_counter()
                sent = (sent_at.pop(record.key, None) for record in records)
                ages.extend((now - at) * 1000 for at in sent if at is not None)

    listening = asyncio.create_task(listen())
    try:
        await _send(producer, settings.topics.events, [next(background)])
        await installation.caught_up()
        before, count = ours.meter.read(), 0
        started, due_probes = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < SECONDS:
            batch = [next(background) for _ in range(round(rate * elapsed) - count)]
            while due_probes < elapsed * _PROBES_A_SECOND:
                tenant = f"probe-{due_probes % 200}"
                state = _STATES[due_probes // 200 % 2]
                batch.append(breaker_event(tenant, "probe", "pod-0", state, due_probes, settings.partitions))
                sent_at[tenant.encode()] = time.perf_counter()
                due_probes += 1
            await _send(producer, settings.topics.events, batch)
            count += len(batch)
            await asyncio.sleep(_TICK_SECONDS)
        await producer.flush()
        reached = count / (time.perf_counter() - started)
        cpu = ours.meter.spent(before, count)
        await installation.caught_up()
        await asyncio.sleep(0.5)
    finally:
        stop.set()
        await listening
        await producer.stop()
        await consumer.stop()
    return Figure(name, reached, Latencies.of(ages), cpu, {"wanted events/s": rate, "probes": float(len(ages))})


async def _send(producer: AIOKafkaProducer, topic: str, records: list[Sent]) -> None:
    for record in records:
        key = None if record.tenant is None else record.tenant.encode()
        await producer.send(topic, record.value, key=key, partition=record.partition, headers=list(STRUCTURED_HEADERS))
