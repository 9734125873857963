"""Every minute Redis is asked how it is run."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from schemas.redis_health import RedisHealth
from tests.fakes import FakeClock, settle
from worker.redis_watch import RedisWatch

GOOD = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "connected_slaves": 1}
EVICTS = GOOD | {"maxmemory_policy": "allkeys-lru"}


class _Store:
    """Tells what the test has laid out."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | Exception = GOOD
        self.calls = 0

    async def info(self) -> dict[str, dict[str, Any]]:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"": self.answer}


class _Rig:
    """A watch that runs, its store and its clock."""

    def __init__(self) -> None:
        self.store = _Store()
        self.clock = FakeClock()
        self.watch = RedisWatch(self.store, self.clock, durable=True)
        self.task: asyncio.Task[None] | None = None

    async def advance(self, seconds: int) -> None:
        self.task = self.task or asyncio.create_task(self.watch.run())
        until = self.clock.now() + seconds * 1000
        await settle()
        while self.clock.wake(until):
            await settle()


@pytest.fixture
async def rig() -> AsyncIterator[_Rig]:
    """A watch that begins when time first passes."""
    rig = _Rig()
    yield rig
    assert rig.task is not None
    rig.task.cancel()
    await asyncio.wait([rig.task])


async def test_redis_is_looked_at_on_connecting_and_every_minute(rig: _Rig) -> None:
    """And a change is logged once."""
    rig.store.answer = EVICTS
    with capture_logs() as logs:
        await rig.advance(0)
        assert rig.watch.health.bad
        await rig.advance(120)
        assert rig.store.calls == 3
        rig.store.answer = GOOD
        await rig.advance(60)
    assert rig.watch.health == RedisHealth()
    assert [(line["event"], len(line["bad"])) for line in logs] == [("redis_health", 1), ("redis_health", 0)]


async def test_a_redis_that_is_away_is_looked_at_soon_after_and_the_last_findings_stand(rig: _Rig) -> None:
    """It may be another server that comes back."""
    rig.store.answer = EVICTS
    await rig.advance(0)
    rig.store.answer = RedisConnectionError("refused")
    await rig.advance(70)
    assert rig.store.calls == 4
    assert rig.watch.health.bad
    rig.store.answer = GOOD
    await rig.advance(5)
    assert rig.watch.health == RedisHealth()


async def test_a_redis_that_forbids_the_question_is_unknown(rig: _Rig) -> None:
    """That is not bad, and not good."""
    rig.store.answer = ResponseError("NOPERM this user has no permissions to run the 'info' command")
    await rig.advance(0)
    assert rig.watch.health.bad == ()
    assert "NOPERM" in rig.watch.health.warnings[0]


async def test_a_look_that_fails_is_said_and_another_follows(rig: _Rig) -> None:
    """What was found before must not stand there as if it had just been seen."""
    rig.store.answer = ZeroDivisionError("a bug of ours")
    with capture_logs() as logs:
        await rig.advance(0)
    assert rig.watch.health.warnings == ("how Redis is run is unknown: looking at it failed, a defect; see the log",)
    assert "redis_watch_failed" in [line["event"] for line in logs]
    rig.store.answer = GOOD
    await rig.advance(60)
    assert rig.watch.health == RedisHealth()
