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
_SETTLE_SECONDS: Final = 300.0
"""How long the rest of the noise may take to be applied: more is sent than a busy machine applies meanwhile."""


async def neighbour(services: Services, directory: Path) -> list[Figure]:
    """Measure 8 other tenants' commands, on all partitions, alone and beside the noise."""
    async with stage(services, directory, api=True) as ours:
        await until_served(ours)
        await measured_mode_changes(ours, "warm-up", _CALLERS, SECONDS)
        quiet = await measured_mode_changes(ours, "others' commands, alone", _CALLERS, SECONDS)
        noise = _Noise()
        making = asyncio.create_task(noise.make(ours))
        try:
            await asyncio.sleep(1)
            before, started = noise.sent, time.perf_counter()
            noisy = await measured_mode_changes(ours, "others' commands, beside noise", _CALLERS, SECONDS)
            reached = (noise.sent - before) / (time.perf_counter() - started)
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
        await ours.installation.caught_up(_SETTLE_SECONDS)
        await require_plain_fold(ours.installation)
    assert quiet.latencies is not None
    assert noisy.latencies is not None
    times = _ratio(noisy.latencies, quiet.latencies)
    more = {**noisy.more, "times the p99 alone": times, "noise events/s": reached}
    return [quiet, noisy._replace(more=more)]


def _ratio(noisy: Latencies, quiet: Latencies) -> float:
    return noisy.p99 / quiet.p99


class _Noise:
    """One tenant's events at a steady rate.

    Attributes:
        sent: how many there were so far.
    """

    def __init__(self) -> None:
        self.sent = 0

    async def make(self, ours: Stage) -> None:
        """Send events until cancelled."""
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
            started = time.perf_counter()
            while True:
                for _ in range(round((time.perf_counter() - started) * EVENTS_A_SECOND) - self.sent):
                    record = next(endless)
                    await producer.send(
                        settings.topics.events,
                        record.value,
                        key=_NEIGHBOUR.encode(),
                        partition=partition,
                        headers=list(STRUCTURED_HEADERS),
                    )
                    self.sent += 1
                await asyncio.sleep(_TICK_SECONDS)
        finally:
            await producer.stop()
