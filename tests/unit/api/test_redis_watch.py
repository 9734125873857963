"""Every minute Redis is asked how it is run."""

from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError

from api.operate.redis_watch import LOOK_SECONDS, RETRY_SECONDS, RedisWatch
from api.read.store import RedisClient
from schemas.redis_health import RedisHealth

GOOD = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "connected_slaves": 1}
EVICTS = GOOD | {"maxmemory_policy": "allkeys-lru"}


class _EndError(Exception):
    """Ends the watch."""


class _Client:
    """Answers what the test has laid out; after that the watch ends."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = list(answers)

    async def info(self) -> dict[str, Any]:
        answer = self.answers.pop(0) if self.answers else _EndError()
        if isinstance(answer, Exception):
            raise answer
        return answer


async def _watched(*answers: dict[str, Any] | Exception, durable: bool = True) -> tuple[list[RedisHealth], list[float]]:
    """Return what was known after each look, and how long was waited for the next."""
    watch, found, waited = RedisWatch(), [], []

    async def pause(seconds: float) -> None:
        found.append(watch.health)
        waited.append(seconds)

    with pytest.raises(_EndError):
        await watch.run(cast("RedisClient", _Client(*answers)), durable=durable, pause=pause)
    return found, waited


async def test_redis_is_looked_at_every_minute() -> None:
    """What was bad and is mended is no finding any more."""
    found, waited = await _watched(EVICTS, GOOD)
    assert "allkeys-lru" in found[0].bad[0]
    assert found[1] == RedisHealth()
    assert waited == [LOOK_SECONDS] * 2


async def test_a_redis_that_is_away_is_looked_at_soon_after_and_the_last_findings_stand() -> None:
    """It may be another server that comes back."""
    found, waited = await _watched(EVICTS, RedisConnectionError("refused"), GOOD)
    assert found[1] == found[0]
    assert waited == [LOOK_SECONDS, RETRY_SECONDS, LOOK_SECONDS]


async def test_a_redis_that_forbids_the_question_is_unknown() -> None:
    """That is not bad, and not good."""
    [found], _ = await _watched(NoPermissionError("NOPERM this user may not"))
    assert found.bad == ()
    assert "NOPERM" in found.warnings[0]


async def test_an_embedded_redis_is_judged_by_its_eviction_only() -> None:
    """It is to survive nothing."""
    [found], _ = await _watched(GOOD | {"aof_enabled": 0, "connected_slaves": 0}, durable=False)
    assert found == RedisHealth()
