"""Every five seconds Redis is asked how it is run, and whether it takes writes."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError
from structlog.testing import capture_logs

from schemas.redis.client import Primaries, RedisClient
from schemas.redis.health import RedisHealth
from schemas.redis.watch import CHECK_SECONDS, LastWrite, RedisWatch

NOW = 1_795_334_837_992
KEY = "{sleep:0}:probe"
GOOD = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "connected_slaves": 1}
EVICTS = GOOD | {"maxmemory_policy": "allkeys-lru"}


class _EndError(Exception):
    """Ends the watch."""


class _Client:
    """Answers each `INFO` by what the test has laid out."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = list(answers)
        self.write: Exception | None = None

    async def info(self) -> dict[str, Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def setrange(self, key: str, offset: int, value: str) -> int:
        assert (key, offset, value) == (KEY, 0, "")
        if self.write is not None:
            raise self.write
        return 0


class _Rig:
    """A watch over a client; it ends when the client has no more answers.

    Attributes:
        health: what was known after each look.
        waits: the seconds before each next look.
    """

    def __init__(
        self,
        *answers: dict[str, Any] | Exception,
        durable: bool = True,
        clock: Callable[[], int] = lambda: NOW,
        last_write: LastWrite | None = None,
    ) -> None:
        self.client = _Client(*answers)
        self.health: list[RedisHealth] = []
        self.waits: list[float] = []
        self.watch = RedisWatch(
            Primaries(cast("RedisClient", self.client), [KEY]),
            durable=durable,
            clock=clock,
            pause=self._pause,
            last_write=last_write,
        )

    async def _pause(self, seconds: float) -> None:
        self.health.append(self.watch.health)
        self.waits.append(seconds)
        if not self.client.answers:
            raise _EndError

    async def look(self, *answers: dict[str, Any] | Exception) -> "_Rig":
        """Look until the answers end."""
        self.client.answers += answers
        with pytest.raises(_EndError):
            await self.watch.run()
        return self


async def test_redis_is_looked_at_every_five_seconds() -> None:
    """What was bad and is mended is no finding any more; a change is logged once."""
    with capture_logs() as logs:
        rig = await _Rig().look(EVICTS, EVICTS, GOOD)
    assert "allkeys-lru" in rig.health[0].bad[0]
    assert rig.health[2] == RedisHealth()
    assert rig.waits == [CHECK_SECONDS] * 3
    assert [(line["event"], len(line["bad"])) for line in logs] == [("redis_health", 1), ("redis_health", 0)]


async def test_while_redis_is_away_the_last_findings_stand() -> None:
    """Another server may come back, so it is looked at as often."""
    rig = await _Rig().look(EVICTS, RedisConnectionError("refused"), TimeoutError(), GOOD)
    assert rig.health[0] == rig.health[1] == rig.health[2]
    assert rig.health[3] == RedisHealth()
    assert rig.waits == [CHECK_SECONDS] * 4


@pytest.mark.parametrize("error", [NoPermissionError, ResponseError])
async def test_a_redis_that_forbids_the_question_is_unknown(error: type[ResponseError]) -> None:
    """That is not bad, and not good."""
    rig = await _Rig().look(error("NOPERM this user has no permissions to run the 'info' command"))
    assert rig.health[0].bad == ()
    assert "NOPERM" in rig.health[0].warnings[0]


async def test_a_look_that_fails_is_logged_and_another_follows() -> None:
    """The findings of an earlier look must not stay as if they had just been seen."""
    with capture_logs() as logs:
        rig = await _Rig().look(EVICTS, ZeroDivisionError("a bug of ours"), GOOD)
    assert rig.health[1].warnings == ("how Redis is run is unknown: looking at it failed, a defect; see the log",)
    assert "redis_watch_failed" in [line["event"] for line in logs]
    assert rig.health[2] == RedisHealth()


async def test_an_embedded_redis_is_judged_by_its_eviction_only() -> None:
    """It is to survive nothing."""
    rig = await _Rig(durable=False).look(GOOD | {"aof_enabled": 0, "connected_slaves": 0})
    assert rig.health == [RedisHealth()]


async def test_a_redis_that_refuses_writes_is_bad_though_info_says_nothing() -> None:
    """A write that changes nothing is tried; a user who may not send it says nothing of Redis."""
    rig = _Rig()
    rig.client.write = ReadOnlyError("You can't write against a read only replica.")
    await rig.look(GOOD)
    assert "read only replica" in rig.watch.bad[0]
    rig.client.write = NoPermissionError("this user has no permissions to run the 'setrange' command")
    await rig.look(GOOD)
    assert rig.watch.bad == ()


async def test_a_failed_write_is_a_problem_until_a_look_finds_writes_taken() -> None:
    """The finding names what to do."""
    last_write = LastWrite()
    rig = _Rig(last_write=last_write)
    last_write.failure = "You can't write against a read only replica."
    assert "the last write of this process failed" in rig.watch.bad[0]
    assert "SLEEP_REDIS_URL" in rig.watch.bad[0]
    await rig.look(GOOD)
    assert rig.watch.bad == ()


@pytest.mark.parametrize(("theirs", "differs"), [(0, False), (5_000, False), (45_000, True), (-7_200_000, True)])
async def test_a_clock_that_differs_from_that_of_redis_is_found(theirs: int, differs: bool) -> None:  # noqa: FBT001
    """INFO holds the server's time."""
    rig = await _Rig().look(GOOD | {"server_time_usec": (NOW + theirs) * 1_000 + 7})
    assert (rig.watch.skew_finding() is not None) is differs
