"""The fake store that the simulation rests on answers as the scripts on a real Redis do, call by call."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest

from schemas.settings import Settings
from tests.fakes import FakeStore
from tests.services import Namespace, Services, redis_client
from worker.ports import Commit, Due
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
    progress: dict[str, bytes | str | int] = {"swept": 0, "layout": chance.choice((1, 2))}
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


AnyStore = Store | FakeStore
Call = Callable[[AnyStore, random.Random, int, int], Awaitable[object]]


def _operations(chance: random.Random) -> list[tuple[str, str]]:
    return [(tenant, f"op-{chance.randrange(3)}") for tenant in _TENANTS]


async def _scan(store: AnyStore, _chance: random.Random, partition: int, _position: int) -> object:
    cursor, page = await store.scan(partition, 0, 1_000)
    return cursor, dict(sorted(page.items()))


CALLS: dict[Call, int] = {
    lambda store, chance, partition, at: store.commit(partition, random_commit(chance, at)): 16,
    lambda store, chance, partition, at: store.load(
        partition, at + chance.choice((0, 0, 0, 1)), _TENANTS, _operations(chance)
    ): 8,
    lambda store, chance, partition, _: store.due(
        partition, chance.randrange(20), chance.randrange(2), chance.randint(1, 5)
    ): 6,
    lambda store, _, partition, __: store.standing(partition): 4,
    lambda store, chance, partition, at: store.index_at(partition, at + chance.choice((0, 0, 0, 1)), _TENANTS): 4,
    lambda store, chance, partition, _: store.operations(partition, _operations(chance)): 2,
    lambda store, _, partition, __: store.mark(partition): 1,
    lambda store, chance, partition, at: store.clear(
        partition, chance.choice((at, at, None)), -chance.randint(1, 99)
    ): 1,
    _scan: 2,
}
"""Each call with how often it is made beside the others."""


async def answer_of(store: AnyStore, seed: int, position: int) -> object:
    """Make the call that a seed stands for, and return the answer."""
    chance = random.Random(seed)
    partition = chance.randrange(2)
    [call] = chance.choices(list(CALLS), list(CALLS.values()))
    return await call(store, chance, partition, position)


@pytest.mark.parametrize("seed", range(3))
async def test_the_fake_and_the_scripts_answer_the_same_to_the_same_calls(
    services: Services, real: Store, seed: int
) -> None:
    """Right and wrong positions, records that come and go, timers, some of them lost, operations: 400 calls to each."""
    fake = FakeStore()
    chance = random.Random(seed)
    done = lost = 0
    for _ in range(_CALLS):
        if chance.random() < 0.05:
            partition, tenant = chance.randrange(2), chance.choice(_TENANTS)
            async with redis_client(services.redis) as redis:
                await redis.zrem(real.keys(partition).timers, tenant)
            fake.partitions[partition].timers.pop(tenant, None)
        number = chance.getrandbits(32)
        position = fake.partitions[random.Random(number).randrange(2)].next
        expected = await answer_of(fake, number, position)
        assert await answer_of(real, number, position) == expected
        done += expected is True
        if isinstance(expected, Due) and not expected.whole:
            # Nothing is committed any more, until somebody begins a rebuild.
            lost += 1
            partition = random.Random(number).randrange(2)
            assert await fake.clear(partition, await fake.mark(partition), -1)
            assert await real.clear(partition, await real.mark(partition), -1)
    assert done > _CALLS // 8
    assert lost
    async with redis_client(services.redis, decode_responses=True) as redis:
        for partition, held in fake.partitions.items():
            keys = real.keys(partition)
            counts = await cast("Awaitable[dict[str, str]]", redis.hgetall(keys.counts))
            assert {state: int(number) for state, number in counts.items()} == held.counts
            assert await cast("Awaitable[set[str]]", redis.smembers(keys.open)) == held.open
