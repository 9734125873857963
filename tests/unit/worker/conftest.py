"""How long the properties search (HYPOTHESIS_PROFILE=thorough: fifty times as long); impatience; Faust's consumer."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from schemas.backoff import Backoff
from tests.support.world import World
from tests.unit.worker.consumer import INGRESS, Consumer, IngressConsumer

# No limit on one example's time: on a shared machine it would fail by chance.
settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=3_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


class _Impatient(Backoff):
    """Waits for nothing, and notes for how long it would have."""

    waits: list[float]

    def next(self) -> float:
        self.waits.append(super().next())
        return 0.0


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which the worker would have waited before it tried again."""
    _Impatient.waits = []
    monkeypatch.setattr("worker.runtime.worker.Backoff", _Impatient)
    monkeypatch.setattr("worker.runtime.faust.consumer_supervisor.Backoff", _Impatient)
    monkeypatch.setattr("worker.runtime.worker.wait", lambda *_: asyncio.sleep(0))
    monkeypatch.setattr("worker.runtime.faust.consumer_supervisor.wait", lambda *_: asyncio.sleep(0))
    return _Impatient.waits


@pytest.fixture
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """One worker and an empty log, of one partition or of as many as the marker `partitions` says."""
    marker = request.node.get_closest_marker("partitions")
    async with World(partitions=1 if marker is None else marker.args[0]) as world:
        yield world


@pytest.fixture
async def faust(world: World, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """The consumer of this world's worker; it has to be made inside the loop."""
    return Consumer(world, monkeypatch)


@pytest.fixture
async def ingress(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IngressConsumer]:
    """The consumer of ingress topics of this world's worker."""
    consumer = IngressConsumer(world, monkeypatch)
    await consumer.consumer.on_partitions_assigned({INGRESS}, 1)
    yield consumer
    # A forwarder that is held up by a test would wait for its whole time limit.
    consumer.outputs.faults.heal()
    await consumer.ingress.end()
