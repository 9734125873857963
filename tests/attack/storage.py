"""What an attack leaves behind: bytes in Redis and on Kafka."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pydantic_core import to_json

from tests.attack.attack import Attack, BrokenError
from tests.attack.target import MODE, POLICY, SLEEP, Target
from tests.attack.wire import ask, bearer, request

_COMMANDS: Final = 240
_AT_ONCE: Final = 12
# A command is remembered for two hours of log time; a tenant may send 600 a minute.
_REMEMBERED: Final = 120 * 600
_REDIS_MB: Final = 20.0
_DAY_SECONDS: Final = 86_400
_KAFKA_GB: Final = 0.1
_ACCEPTED: Final = 202
_WIDE: Final = "\N{BRAIN}" * 256
_LARGE: Final = "x" * 60_000
_SETTLE_SECONDS: Final = 1.5


async def _redis_bytes(target: Target) -> int:
    """Return what Redis holds under the installation's keys, what it adds included."""
    redis, total = target.redis, 0
    async for key in redis.scan_iter(f"{{{target.installation.settings.redis_prefix}*", count=1_000):
        total += await redis.memory_usage(key, samples=0) or 0
    return total


async def _remembered(path: str, body: Callable[[], dict[str, Any]], target: Target) -> float:
    """Return how many MB of Redis a tenant holds that sends 600 of a command a minute for ever."""
    tenant = target.tenant()
    token = target.token(tenant, "sleep:read sleep:write sleep:override", f"{tenant}{'s' * 200}")
    content = to_json(body() | {"async_mode": True, "reason": _WIDE, "trace_id": "t" * 128})
    before = await _redis_bytes(target)

    async def send(numbers: range) -> None:
        for number in numbers:
            headers = bearer(token) | {"Idempotency-Key": f"{number:0128}"}
            status = await ask(target.door.url, request("POST", path, headers, content))
            if status != _ACCEPTED:
                raise BrokenError(f"a command is answered with {status}")

    await asyncio.gather(*(send(range(first, _COMMANDS, _AT_ONCE)) for first in range(_AT_ONCE)))
    await target.installation.caught_up()
    await asyncio.sleep(_SETTLE_SECONDS)
    return (await _redis_bytes(target) - before) / _COMMANDS * _REMEMBERED / 1e6


_INVALID_POLICIES: Final[tuple[bytes, ...]] = (
    to_json({"floor": _LARGE}),
    to_json({_LARGE: 1}),
    to_json({"breakers": [{"match": "a", "open": _LARGE}]}),
    to_json({"breakers": [{"match": _LARGE}]}),
    to_json({"breakers": [{"match": "x" * 180, "quorum": 0}] * 250}),
    to_json({"schedule": {"K": [1] * 20_000}}),
    to_json({"min_sleep_seconds": 0.0001, "breakers": [{"match": "x" * 190} for _ in range(250)]}),
    to_json({"floor": "deep", "ceiling": "light", "breakers": [{"match": "x" * 190} for _ in range(32)]}),
)
"""Policies that are invalid whatever the tenant's state is."""


async def _policies(target: Target) -> float:
    """Return how many GB a day Kafka gets of one invalid policy a second."""
    topics = target.installation.settings.topics
    names = (topics.events, topics.transitions, topics.states, topics.deadletter)
    await target.installation.caught_up()
    before = {name: await target.installation.ends(name) for name in names}
    token = target.token(target.tenant(), "sleep:policy")
    for policy in _INVALID_POLICIES:
        # With a version that does not match, so that nobody may look at that first.
        for match in ("*", '"7"'):
            raw = request("PUT", POLICY, bearer(token) | {"If-Match": match, "Prefer": "respond-async"}, policy)
            await ask(target.door.url, raw)
    await target.installation.caught_up()
    published = sum([await target.bytes_since(name, since) for name, since in before.items()])
    return published / (2 * len(_INVALID_POLICIES)) * _DAY_SECONDS / 1e9


ATTACKS: Final = (
    Attack(
        "8",
        "600 sleeps a minute for ever, held in Redis",
        _REDIS_MB,
        "MB",
        partial(_remembered, SLEEP, lambda: {"target_state": "deep", "ttl_seconds": 0.001}),
    ),
    Attack(
        "8",
        "600 refused sleeps a minute for ever, held in Redis",
        _REDIS_MB,
        "MB",
        partial(_remembered, SLEEP, lambda: {"target_state": "deep", "ttl_seconds": 2_000_000}),
        short=False,
    ),
    Attack(
        "8",
        "600 modes a minute for ever, held in Redis",
        _REDIS_MB,
        "MB",
        partial(_remembered, MODE, lambda: {"target_state": "light"}),
        short=False,
    ),
    Attack("9", "one invalid policy of up to 60 KB a second", _KAFKA_GB, "GB of Kafka a day", _policies),
)
