"""The fake store that the simulation rests on answers as the scripts on a real Redis do, call by call."""

import random
from collections.abc import AsyncIterator, Awaitable
from typing import Any, cast

import pytest

from schemas.settings import Settings
from tests.fakes import FakeStore
from tests.services import Namespace, Services, redis_client
from worker import ports
from worker.ports import Commit
from worker.store import Store

pytestmark = pytest.mark.cluster

_TENANTS = ("acme", "other", "third", "fourth")
_STATES = ("active", "light", "deep", "freeze")
_CALLS = 400


@pytest.fixture
async def real(services: Services, namespace: Namespace) -> AsyncIterator[Store]:
    """A store on the real Redis, under a prefix of its own."""
    settings = Settings.model_validate(
        {"kafka_bootstrap": services.kafka, "redis_url": services.redis, "redis_prefix": namespace.redis_prefix}
    )
    store = Store.connect(settings)
    yield store
    await store.close()


def random_commit(chance: random.Random, position: int) -> Commit:
    """Return a commit of random tenants, timers, counts and operations, mostly from where the store stands."""
    touched = chance.sample(_TENANTS, chance.randint(0, len(_TENANTS)))
    kept, removed = touched[::2], touched[1::2]
    progress: dict[str, bytes | str | int] = {"swept": 0}
    if chance.random() < 0.8:
        progress |= {"next": position + chance.randint(1, 3), "timestamp": chance.randrange(10**12), "crc": 7}
    return Commit(
        position=position + chance.choice((0, 0, 0, 0, -1, 1)),
        progress=progress,
        records={tenant: chance.randbytes(8) for tenant in kept},
        removed=removed,
        timers={tenant: chance.randrange(20) for tenant in kept},
        untimed=removed,
        counts={chance.choice(_STATES): chance.choice((-1, 1))},
        open_ended={tenant: chance.random() < 0.5 for tenant in kept},
        operations=[(tenant, f"op-{chance.randrange(3)}", chance.randbytes(8), 60_000) for tenant in kept],
    )


async def answer_of(store: ports.Store, seed: int, position: int) -> Any:  # noqa: ANN401 - whatever the call answers
    """Make the call that a seed stands for, and return the answer."""
    chance = random.Random(seed)
    partition = chance.randrange(2)
    call = chance.choices(("commit", "load", "due", "standing", "scan"), (8, 4, 3, 2, 1))[0]
    if call == "commit":
        return await store.commit(partition, random_commit(chance, position))
    if call == "load":
        operations = [(tenant, f"op-{chance.randrange(3)}") for tenant in _TENANTS]
        return await store.load(partition, position + chance.choice((0, 0, 0, 1)), _TENANTS, operations)
    if call == "due":
        return await store.due(partition, chance.randrange(20), chance.randrange(2), chance.randint(1, 5))
    if call == "standing":
        return await store.standing(partition)
    cursor, page = await store.scan(partition, 0, 1_000)
    return cursor, dict(sorted(page.items()))


@pytest.mark.parametrize("seed", range(3))
async def test_the_fake_and_the_scripts_answer_the_same_to_the_same_calls(
    services: Services, real: Store, seed: int
) -> None:
    """Right and wrong positions, records that come and go, timers, operations: 400 calls, the same for both."""
    fake = FakeStore()
    chance = random.Random(seed)
    done = 0
    for _ in range(_CALLS):
        number = chance.getrandbits(32)
        position = fake.partitions[random.Random(number).randrange(2)].next
        expected = await answer_of(fake, number, position)
        assert await answer_of(real, number, position) == expected
        done += expected is True
    assert done > _CALLS // 8
    async with redis_client(services.redis, decode_responses=True) as redis:
        for partition, held in fake.partitions.items():
            keys = real.keys(partition)
            counts = await cast("Awaitable[dict[str, str]]", redis.hgetall(keys.counts))
            assert {state: int(number) for state, number in counts.items()} == held.counts
            assert await cast("Awaitable[set[str]]", redis.smembers(keys.open)) == held.open
