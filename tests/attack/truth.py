"""Whether pages and answers stay true while something is wrong: a full Redis, wrong clocks, a topic that is gone."""

import asyncio
import signal
import sys
import time
from collections import Counter
from functools import partial
from typing import Final

from tests.attack.attack import Attack, BrokenError
from tests.attack.target import MODE, SLEEP, Target
from tests.attack.wire import ask, bearer, request
from tests.services import Namespace
from tests.support.installation import Installation
from tests.support.topic_deletion import WorkerAndApi

_SOON_SECONDS: Final = 20.0
_UNAVAILABLE: Final = 503
_COMMANDS: Final = 8
_CALLERS: Final = 30
_ANSWERED: Final = (200, 202)


async def _full_redis(target: Target) -> float:
    """Return how many pages still say that all is well while a full Redis takes no command."""
    wake = request("POST", MODE, bearer(target.token(target.tenant(), "sleep:write")), b'{"target_state":"active"}')
    await target.redis.config_set("maxmemory", "1mb")
    try:
        async with asyncio.timeout(_SOON_SECONDS):
            while await ask(target.door.url, wake) != _UNAVAILABLE:
                await asyncio.sleep(0.1)
        return float(sum([await _still_well(url) for url in (target.page, target.door.url)]))
    finally:
        await target.redis.config_set("maxmemory", "0")
        await target.works(target.door)


async def _still_well(url: str) -> bool:
    until = time.monotonic() + _SOON_SECONDS
    while time.monotonic() < until:
        if await ask(url, request("GET", "/status")) == _UNAVAILABLE:
            return False
        await asyncio.sleep(0.2)
    return True


async def _skewed(seconds: int, target: Target) -> float:
    """Return how many commands an API with a wrong clock refuses."""
    command = (sys.executable, "-m", "tests.services.skewed", str(seconds), "api")
    door = await target.installation.open_door(*command)
    try:
        codes: Counter[str] = Counter()
        async with door.client(target.tenant()) as client:
            for _ in range(_COMMANDS):
                answer = await client.post(SLEEP, json={"target_state": "light", "ttl_seconds": 60})
                codes["" if answer.is_success else answer.json()["code"]] += 1
            async with asyncio.timeout(_SOON_SECONDS):
                while not (await client.get("/status")).json()["warnings"]:
                    await asyncio.sleep(0.2)
        return float(codes.total() - codes[""])
    finally:
        await asyncio.to_thread(door.process.kill)


async def _deleted_topic(target: Target) -> float:
    """Return how much of this is so: a deleted topic is back by itself, and the worker's page says that all is well."""
    directory = target.installation.directory / "deleted"
    directory.mkdir()
    namespace = Namespace.fresh()
    async with Installation.open(target.installation.services, namespace, directory, partitions=2) as installation:
        house = WorkerAndApi(installation, installation.start_worker(), await installation.open_door())
        await house.works()
        topic = installation.settings.topics.deadletter
        await house.delete(topic)
        await house.emit_rubbish()
        well = await _still_well(house.pages[0])
        return float((topic in await house.names()) + well)


async def _terminated(target: Target) -> float:
    """Return how many callers get no answer of an API that is told to stop while they wait."""
    door = await target.installation.open_door()
    await target.works(door)
    body = b'{"target_state":"deep","ttl_seconds":60}'
    raws = [request("POST", SLEEP, bearer(target.token(target.tenant(), "sleep:write")), body) for _ in range(_CALLERS)]
    callers = [asyncio.create_task(ask(door.url, raw)) for raw in raws]
    await asyncio.sleep(0.1)
    door.process.signal(signal.SIGTERM)
    statuses = Counter(await asyncio.gather(*callers))
    if (code := await asyncio.to_thread(door.process.wait)) != 0:
        raise BrokenError(f"it ended with {code}")
    return float(sum(count for status, count in statuses.items() if status not in _ANSWERED))


ATTACKS: Final = (
    Attack("11", "a Redis that is full", 0, "pages that say ok", _full_redis),
    Attack("12", "an API 45 s behind", 0, "commands refused", partial(_skewed, -45), short=False),
    Attack("12", "an API 2 h ahead", 0, "commands refused", partial(_skewed, 7_200), short=False),
    Attack("13", "a dead-letter topic that is deleted", 0, "untruths", _deleted_topic, short=False),
    Attack("held", "SIGTERM with 30 callers", 0, "without an answer", _terminated, short=False),
)
