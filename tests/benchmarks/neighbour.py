"""A noisy neighbour: the commands of others, with and without one tenant that sends 10,000 events a second."""

import asyncio
import itertools
import time
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer

from schemas.kafka.partitioner import partition_of
from schemas.wire.cloudevents import STRUCTURED_HEADERS
from tests.benchmarks.commands import measured_mode_changes, until_served
from tests.benchmarks.end_state import require_plain_fold
from tests.benchmarks.figures import Figure, Latencies
from tests.benchmarks.stage import Stage, stage
from tests.benchmarks.throughput import breaker_event
from tests.services import Services

EVENTS_A_SECOND: Final = 10_000
SECONDS: Final = 8.0
_CALLERS: Final = 8
_TICK_SECONDS: Final = 0.01
_NEIGHBOUR: Final = "neighbour"


async def neighbour(services: Services, directory: Path) -> list[Figure]:
    """Measure 8 other tenants' commands, on all partitions, alone and beside the noise."""
    async with stage(services, directory, api=True) as ours:
        await until_served(ours)
        await measured_mode_changes(ours, "warm-up", _CALLERS, SECONDS)
        quiet = await measured_mode_changes(ours, "others' commands, alone", _CALLERS, SECONDS)
        noise = asyncio.create_task(_noise(ours))
        try:
            await asyncio.sleep(1)
            noisy = await measured_mode_changes(ours, "others' commands, beside noise", _CALLERS, SECONDS)
        finally:
            noise.cancel()
            await asyncio.gather(noise, return_exceptions=True)
        await ours.installation.caught_up()
        await require_plain_fold(ours.installation)
    assert quiet.latencies is not None
    assert noisy.latencies is not None
    times = _ratio(noisy.latencies, quiet.latencies)
    return [quiet, noisy._replace(more={**noisy.more, "times the p99 alone": times})]


def _ratio(noisy: Latencies, quiet: Latencies) -> float:
    return noisy.p99 / quiet.p99


async def _noise(ours: Stage) -> None:
    """Send one tenant's events at a steady rate until cancelled."""
    settings = ours.installation.settings
    partition = partition_of(_NEIGHBOUR, settings.partitions)
    states = ("open", "closed", "half_open")
    events = [
        breaker_event(
            _NEIGHBOUR, f"breaker-{index % 4}", f"pod-{index % 2}", states[index % 3], index, settings.partitions
        )
        for index in range(3_000)
    ]
    endless = itertools.cycle(events)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, linger_ms=5, max_batch_size=131_072)
    await producer.start()
    try:
        started, sent = time.perf_counter(), 0
        while True:
            for _ in range(round((time.perf_counter() - started) * EVENTS_A_SECOND) - sent):
                record = next(endless)
                await producer.send(
                    settings.topics.events,
                    record.value,
                    key=_NEIGHBOUR.encode(),
                    partition=partition,
                    headers=list(STRUCTURED_HEADERS),
                )
                sent += 1
            await asyncio.sleep(_TICK_SECONDS)
    finally:
        await producer.stop()
