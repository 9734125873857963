"""Turns at Redis: fair between lines, bounded in places, and none is ever lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import RedisCluster

from api.adapters.dependency import UnavailableError
from api.adapters.redis_store import ANSWER_SECONDS, asking, connect, seconds_for
from api.adapters.redis_turns import CALLER, QUEUE_SECONDS, RedisTurns
from schemas.redis.shared import SharedRedis
from schemas.running_timeout import STEPS, running_timeout
from tests.support.settings import settings_of


@asynccontextmanager
async def turn(turns: RedisTurns, seconds: float = QUEUE_SECONDS) -> AsyncIterator[None]:
    """Hold a place for a block."""
    await turns.take(seconds)
    try:
        yield
    finally:
        turns.give()


class Crowd:
    """Callers that hold a place until they are told to leave."""

    def __init__(self, places: int) -> None:
        self.turns = RedisTurns(places)
        self.came: list[str] = []
        self.leave = asyncio.Semaphore(0)

    def call(self, line: str, count: int = 1) -> list["asyncio.Task[None]"]:
        """Have callers ask for a place, in a line."""
        CALLER.set(line)
        return [asyncio.create_task(self._hold(line)) for _ in range(count)]

    async def _hold(self, line: str) -> None:
        async with turn(self.turns):
            self.came.append(line)
            await self.leave.acquire()

    async def settle(self, leaving: int = 0) -> None:
        """Let some leave, and everybody act."""
        for _ in range(leaving):
            self.leave.release()
            for _ in range(6):
                await asyncio.sleep(0)
        for _ in range(6):
            await asyncio.sleep(0)


async def test_a_tenant_with_thousands_of_requests_waits_for_itself() -> None:
    """Another one comes next, and two others take turns with it."""
    crowd = Crowd(places=4)
    tasks = crowd.call("acme", 4_000)
    await crowd.settle()
    tasks += crowd.call("globex", 2) + crowd.call("initech", 2)
    await crowd.settle(leaving=6)
    assert crowd.came[:4] == ["acme"] * 4
    assert crowd.came[4:] == ["acme", "globex", "initech", "acme", "globex", "initech"]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_places_are_never_more_nor_less() -> None:
    """Whoever gives up while waiting, or at the very moment of their turn, takes none with them."""
    crowd = Crowd(places=2)
    tasks = crowd.call("acme", 6)
    await crowd.settle()
    assert len(crowd.came) == 2
    tasks[2].cancel()
    await crowd.settle()
    crowd.leave.release()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[3].cancel()
    await crowd.settle(leaving=5)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not crowd.turns._lines  # noqa: SLF001 - nothing is kept of who has left
    assert crowd.turns._free == 2  # noqa: SLF001 - as many as in the beginning


async def test_who_waits_too_long_leaves_the_line() -> None:
    """With the error that Redis being away has, and its place goes to the next."""
    turns = RedisTurns(places=1)
    async with turn(turns):
        with pytest.raises(TimeoutError):
            async with turn(turns, seconds=0):
                raise AssertionError("there was a place")
    async with turn(turns):
        pass
    assert turns._free == 1  # noqa: SLF001 - as in the beginning


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is set by hand, and which waits for none."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        """Return the time that was set."""
        return self.now


def run(scenario: Callable[[Loop], object]) -> None:
    """Run a scenario on such a loop."""
    loop = Loop()
    try:
        loop.run_until_complete(scenario(loop))  # type: ignore[arg-type]  # a coroutine
    finally:
        loop.close()


def test_a_standstill_does_not_use_up_the_time_of_an_answer() -> None:
    """The loop stood still for an hour; an answer that came in the meantime is taken."""

    async def scenario(loop: Loop) -> None:
        answer = loop.create_future()
        async with running_timeout(1.0):
            loop.now += 3_600
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            loop.call_soon(answer.set_result, "late, and there")
            assert await answer

    run(scenario)


def test_an_answer_that_does_not_come_ends_the_wait() -> None:
    """After as many rounds as the limit has steps, each of its time; not one before."""

    async def scenario(loop: Loop) -> None:
        rounds = 0

        def go_on() -> None:
            nonlocal rounds
            rounds += 1
            loop.now += ANSWER_SECONDS / STEPS
            loop.call_soon(go_on)

        loop.call_soon(go_on)
        turns = RedisTurns(places=1)
        with pytest.raises(UnavailableError, match="redis"):
            async with asking(connect(settings_of(redis_url="redis://redis")), turns):
                await loop.create_future()
        assert STEPS <= rounds <= 3 * STEPS
        async with turn(turns, seconds=0):
            pass  # and the place is free again

    run(scenario)


def test_a_client_of_a_cluster_comes_to_its_own_limit_first() -> None:
    """A node that does not answer makes it look for another, which it does not where it is merely cut off."""
    cluster = connect(settings_of(redis_url="redis+cluster://redis:6379"), shared=True)
    assert isinstance(cluster, RedisCluster)
    limit = seconds_for(cluster)
    assert limit is not None
    assert cluster.connection_kwargs["socket_timeout"] < limit
    pooled = connect(settings_of(redis_url="redis://redis"))
    assert seconds_for(pooled) == ANSWER_SECONDS


def test_a_shared_connection_limits_each_call_itself() -> None:
    """By one timer for all calls, instead of one for each block."""
    server = connect(settings_of(redis_url="redis://redis"), shared=True)
    assert isinstance(server, SharedRedis)
    assert server.connection_pool.connection_kwargs["socket_timeout"] is None
    assert (seconds_for(server), server.seconds) == (None, ANSWER_SECONDS)
