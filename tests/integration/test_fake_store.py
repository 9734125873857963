"""The fake store that the simulation rests on answers as the scripts on a real Redis do, call by call."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest

from schemas.redis.command_memory import FIXED_BYTES, field_of, time_bytes
from schemas.redis.progress import ProgressUpdate
from schemas.settings import Settings
from tests.services import Namespace, Services, redis_client
from tests.support.fakes import FakeStore
from worker.adapters.redis_store import LaneStore
from worker.ports import Commit, Due

pytestmark = pytest.mark.cluster

_TENANTS = ("acme", "other", "third", "fourth")
_STATES = ("active", "light", "deep", "freeze")
_CALLS = 400


@pytest.fixture
async def real(services: Services, namespace: Namespace) -> AsyncIterator[LaneStore]:
    """A store on the real Redis, under a prefix of its own."""
    settings = Settings.model_validate(
        {"kafka_bootstrap": services.kafka, "redis_url": services.redis, "redis_prefix": namespace.redis_prefix}
    )
    store = LaneStore.connect(settings)
    yield store
    await store.close()


def random_commit(chance: random.Random, position: int) -> Commit:
    """Return a commit of random tenants, timers, counts and operations, mostly from where the store stands."""
    touched = chance.sample(_TENANTS, chance.randint(0, len(_TENANTS)))
    updated, removed = touched[::2], touched[1::2]
    progress = ProgressUpdate(swept=0, layout=chance.choice((1, 2, 3)))
    if chance.random() < 0.8:
        progress = progress._replace(next=position + chance.randint(1, 3), timestamp=chance.randrange(10**12), crc=7)
    return Commit(
        position=position + chance.choice((0, 0, 0, 0, -1, 1)),
        progress=progress,
        records={tenant: chance.randbytes(8) for tenant in updated},
        removed_records=removed,
        timers={tenant: chance.randrange(20) for tenant in updated},
        removed_timers=removed,
        count_changes={chance.choice(_STATES): chance.choice((-1, 1))},
        open_ended={tenant: chance.random() < 0.5 for tenant in updated},
        operations={(tenant, f"op-{chance.randrange(3)}"): _operation(chance) for tenant in updated},
        ended_operations=list(
            {(tenant, f"op-{chance.randrange(3)}"): None for tenant in _TENANTS if chance.random() < 0.4}
        ),
        forget_to=chance.randrange(20),
    )


def _operation(chance: random.Random) -> bytes:
    """Return bytes led by the end of a command, with texts behind them now and then."""
    return b"\2" + chance.randrange(25).to_bytes(8, "big") + chance.randbytes(FIXED_BYTES - 9 + chance.choice((0, 9)))


AnyStore = LaneStore | FakeStore
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
        partition, chance.randrange(-1, 10), chance.randrange(20), chance.randrange(2), chance.randint(1, 5)
    ): 6,
    lambda store, _, partition, __: store.partition_status(partition): 4,
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
    services: Services, real: LaneStore, seed: int
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
        if isinstance(expected, Due) and not expected.complete:
            # Nothing is committed any more, until somebody begins a rebuild.
            lost += 1
            partition = random.Random(number).randrange(2)
            assert await fake.clear(partition, await fake.mark(partition), -1)
            assert await real.clear(partition, await real.mark(partition), -1)
    assert done > _CALLS // 8
    assert lost
    async with redis_client(services.redis, decode_responses=True) as redis:
        for partition, stored in fake.partitions.items():
            keys = real.keys(partition)
            counts = await cast("Awaitable[dict[str, str]]", redis.hgetall(keys.counts))
            assert {state: int(number) for state, number in counts.items()} == stored.counts
            assert await cast("Awaitable[set[str]]", redis.smembers(keys.open)) == stored.open
    async with redis_client(services.redis) as redis:
        for partition, stored in fake.partitions.items():
            keys = real.keys(partition)
            operations = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(keys.operations))
            assert operations == {field_of(*command): packed for command, packed in stored.operations.items()}
            ends = await cast("Awaitable[list[bytes]]", redis.lrange(keys.ended, 0, -1))
            assert ends == [time_bytes(end) + field_of(*command) for end, command in stored.ended]
