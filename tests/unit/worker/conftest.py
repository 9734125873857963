"""How long the properties search (HYPOTHESIS_PROFILE=thorough: fifty times as long); impatience; Faust's consumer."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.worker.consumer import Consumer
from tests.world import World
from worker.clock import Backoff

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
    monkeypatch.setattr("worker.app.Backoff", _Impatient)
    monkeypatch.setattr("worker.process.Backoff", _Impatient)
    monkeypatch.setattr("worker.process._wait", lambda *_: asyncio.sleep(0))
    return _Impatient.waits


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Four partitions, one worker, nothing in the log."""
    async with World(partitions=4) as world:
        yield world


@pytest.fixture
async def faust(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Consumer]:
    """The consumer of this world's worker; it has to be made inside the loop."""
    found = Consumer(world, monkeypatch)
    yield found
    found.real_thread.thread_loop.close()
