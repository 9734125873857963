"""Attacks by one token that emits: large records that are published again and again."""

import asyncio
from typing import Final

from pydantic_core import to_json

from schemas.kafka.partitioner import partition_of
from schemas.wire import events
from schemas.wire.cloudevents import encode
from tests.attack.attack import Attack, BrokenError
from tests.attack.target import EMIT, PARTITIONS, Target
from tests.attack.wire import ask, bearer, request
from tests.support.records import Sent

_MIB: Final = 160.0
# Each of the six requests is one or a few commits, each with at most one state record below 256 KiB; and its rows.
_PUBLISHED_MB: Final = 16.0
_BREAKERS: Final = 256
_REQUESTS: Final = 6
_BODY_BYTES: Final = 64_000
_BATCH: Final = "application/cloudevents-batch+json"
# What an API keeps of the latest transitions, for streams that come back.
_KEPT_MIB: Final = 32.0
_COMMANDS: Final = 40_000
_COMMANDS_AT_ONCE: Final = 2_000
_HEARD_SECONDS: Final = 5.0
_WIDE: Final = "\N{BRAIN}"
_ACCEPTED: Final = 202


def _event(tenant: str, name: str, state: str, cause: str | None) -> bytes:
    data = {"breaker": name, "instance": "i", "state": state} | ({} if cause is None else {"cause": cause})
    fields = {"specversion": "1.0", "id": "1", "source": "u", "type": "sleep.breaker.v1", "subject": tenant}
    return to_json(fields | {"data": data})


async def _emit(target: Target, tenant: str, encoded: list[bytes]) -> None:
    """Send events in as few requests as may be; each must be accepted."""
    headers = bearer(target.token(tenant, "sleep:emit")) | {"Content-Type": _BATCH}
    batch: list[bytes] = []
    for event in [*encoded, None]:
        if batch and (event is None or sum(map(len, batch)) + len(batch) + len(event) > _BODY_BYTES):
            raw = request("POST", EMIT, headers, b"[" + b",".join(batch) + b"]")
            if (status := await ask(target.door.url, raw)) != _ACCEPTED:
                raise BrokenError(f"an event of a breaker is answered with {status}")
            batch = []
        if event is not None:
            batch.append(event)


async def grown_tenant(target: Target) -> str:
    """Return a tenant with as many and as large breakers as it may have."""
    tenant = target.tenant()
    wide = [_event(tenant, f"{number:03}{_WIDE * 190}", "open", _WIDE * 250) for number in range(_BREAKERS - 1)]
    await _emit(target, tenant, [_event(tenant, "b", "closed", None), *wide])
    await target.installation.caught_up()
    return tenant


async def flip(target: Target, tenant: str, requests: int = _REQUESTS) -> None:
    """Flip the small breaker of a grown tenant as often as so many requests hold, and wait for the fold."""
    for _ in range(requests):
        flips = [_event(tenant, "b", ("half_open", "closed")[number % 2], None) for number in range(_BODY_BYTES // 150)]
        await _emit(target, tenant, flips)
    await target.installation.caught_up()


async def _memory(target: Target) -> float:
    tenant = await grown_tenant(target)
    return await target.growth(target.worker, flip(target, tenant), _MIB)


async def _published(target: Target) -> float:
    """Return what came to the topics of states and transitions; ends the worker when it is far too much."""
    tenant, topics = await grown_tenant(target), target.installation.settings.topics
    before = {topic: await target.installation.ends(topic) for topic in (topics.states, topics.transitions)}
    attack = asyncio.create_task(target.growth(target.worker, flip(target, tenant), _MIB))
    try:
        await attack
    finally:
        attack.cancel()
    return sum([await target.bytes_since(topic, since, 3) for topic, since in before.items()]) / 1e6


async def _wakes(target: Target) -> float:
    """Return how many events that wake were refused of a tenant that is full."""
    tenant = await grown_tenant(target)
    headers = bearer(target.token(tenant, "sleep:emit")) | {"Content-Type": _BATCH}
    refused = 0
    for number in range(0, _BREAKERS - 1, 32):
        event = _event(tenant, f"{number:03}{_WIDE * 190}", "closed", _WIDE * 250)
        refused += await ask(target.door.url, request("POST", EMIT, headers, b"[" + event + b"]")) != _ACCEPTED
    return float(refused)


async def _kept_transitions(target: Target) -> float:
    """Return by how much an API grows that hears many transitions with long texts."""
    tenants = [target.tenant() for _ in range(2 * PARTITIONS)]

    async def attack() -> None:
        for begin in range(0, _COMMANDS, _COMMANDS_AT_ONCE):
            numbers = range(begin, begin + _COMMANDS_AT_ONCE)
            await target.installation.write(_mode(tenants[number % len(tenants)], number) for number in numbers)
        await target.installation.caught_up()
        await asyncio.sleep(_HEARD_SECONDS)

    return await target.growth(target.door.process, attack(), _KEPT_MIB)


def _mode(tenant: str, number: int) -> Sent:
    texts = {"actor": _WIDE * 256, "reason": _WIDE * 256}
    data = {"operation_id": f"m-{number}", "target": ("light", "deep", "freeze")[number // 8 % 3], **texts}
    value = encode(type_=events.MODE, id_="1", source="u", subject=tenant, time=None, data=data)
    return Sent(tenant, value, partition_of(tenant, PARTITIONS))


ATTACKS: Final = (
    Attack("2", "six requests that flip a breaker of a large tenant, worker", _MIB, "MiB more", _memory),
    Attack(
        "2", "six requests that flip a breaker of a large tenant, Kafka", _PUBLISHED_MB, "MB", _published, short=False
    ),
    Attack("2", "closing breakers of a tenant that is full", 0, "refused", _wakes, short=False),
    Attack(
        "2", "40,000 modes with long texts, API", _KEPT_MIB, "MiB more", _kept_transitions, short=False, seconds=300
    ),
)
