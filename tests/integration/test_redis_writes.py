"""A Redis that answers and takes no writes: the pages of worker and API say so, and what to do."""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import redis
from pydantic import SecretStr

from api.adapters.redis_store import RedisStore, connect
from schemas.redis.client import Primaries
from schemas.redis.health import RedisHealth
from schemas.redis.watch import RedisWatch
from schemas.settings import Settings
from tests.services import Namespace, Services, UnavailableError
from tests.services.cluster import ClusterNode, RedisClusterService
from tests.services.processes import RedisProcess, find
from tests.services.skips import pass_over
from tests.support.installation import Installation
from worker.adapters.redis_store import LaneStore

SOON_SECONDS = 20.0


class _Redis(RedisProcess):
    """A Redis that survives a limit on the size of its files, as it survives a full disk."""

    def command(self) -> list[str]:
        return ["sh", "-c", 'trap "" XFSZ; exec "$0" "$@"', *super().command()]

    def fill_disk(self) -> None:
        """Let no file grow beyond its first bytes."""
        self._limit(16)

    def empty_disk(self) -> None:
        """Let files grow again."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        assert self._child is not None
        resource.prlimit(self._child.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[_Redis]:
    """A Redis of this test alone."""
    try:
        program = find("redis-server", "redis-server")
    except UnavailableError as error:
        pass_over(f"needs a Redis that can be hurt: {error}")
    server = _Redis(tmp_path, program)
    server.start()
    yield server
    server.close()


class _Looks(NamedTuple):
    """Both watches over one Redis."""

    api: Callable[[], Awaitable[RedisHealth]]
    worker: Callable[[], Awaitable[RedisHealth]]


@pytest.fixture
async def looks(own_redis: _Redis) -> AsyncIterator[_Looks]:
    """What worker and API find when they look once."""
    async with _looking(own_redis.address) as looks:
        yield looks


@asynccontextmanager
async def _looking(address: str, partitions: int = 1) -> AsyncIterator[_Looks]:
    """Both watches over one address, closed after the block."""
    settings = Settings(kafka_bootstrap="127.0.0.1:1", redis_url=SecretStr(address), partitions=partitions)
    client, store = connect(settings), LaneStore.connect(settings)
    keys = RedisStore(client, settings.redis_prefix, partitions).probes

    async def look(primaries: Primaries) -> RedisHealth:
        watch = RedisWatch(primaries, durable=True, pause=_pause)
        with pytest.raises(_LookedError):
            await watch.run()
        return watch.health

    try:
        yield _Looks(lambda: look(Primaries(client, keys)), lambda: look(store.primaries(partitions)))
    finally:
        await client.aclose()
        await store.close()


class _LookedError(Exception):
    """The first look has ended."""


async def _pause(_: float) -> None:
    """End a watch after its first look."""
    raise _LookedError


class _Fault(NamedTuple):
    """What is done to a Redis, how it is undone, and what is said meanwhile."""

    hurt: Callable[[_Redis, redis.Redis], object]
    heal: Callable[[_Redis, redis.Redis], object]
    words: tuple[str, str]


def _snapshot_fails(server: _Redis, client: redis.Redis) -> None:
    client.config_set("save", "3600 1")
    server.fill_disk()
    client.config_set("appendonly", "no")
    client.bgsave()


def _snapshot_succeeds(server: _Redis, client: redis.Redis) -> None:
    server.empty_disk()
    client.bgsave()


def _write_until_refused(server: _Redis, client: redis.Redis) -> None:
    server.fill_disk()
    client.set("some", "x" * 100)


FAULTS = {
    "out of memory": _Fault(
        lambda _, client: client.config_set("maxmemory", "1mb"),
        lambda _, client: client.config_set("maxmemory", "0"),
        ("memory is full", "raise maxmemory"),
    ),
    "read only": _Fault(
        lambda _, client: client.replicaof("127.0.0.1", "1"),
        lambda _, client: client.replicaof("no", "one"),
        ("a replica of 127.0.0.1:1", "SLEEP_REDIS_URL"),
    ),
    "no replicas": _Fault(
        lambda _, client: client.config_set("min-replicas-to-write", "1"),
        lambda _, client: client.config_set("min-replicas-to-write", "0"),
        ("min-replicas-to-write", "bring replicas back"),
    ),
    "append-only file": _Fault(
        _write_until_refused,
        lambda server, _: server.empty_disk(),
        ("AOF", "look at the disk"),
    ),
    "snapshot": _Fault(_snapshot_fails, _snapshot_succeeds, ("MISCONF", "look at the disk")),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
async def test_a_redis_that_takes_no_writes_is_bad_until_it_does(
    own_redis: _Redis, looks: _Looks, fault: _Fault
) -> None:
    """Real refusals of a real server; no key is left by the look."""
    with closing(redis.Redis.from_url(own_redis.address)) as client:
        assert [(await look()).bad for look in looks] == [(), ()]
        await asyncio.to_thread(fault.hurt, own_redis, client)
        for look in looks:
            bad = await _until(look, lambda health: bool(health.bad))
            assert any(all(word in finding for word in fault.words) for finding in bad), bad
            assert len(bad) == 1
        await asyncio.to_thread(fault.heal, own_redis, client)
        for look in looks:
            await _until(look, lambda health: not health.bad)
        assert client.keys("*") in ([], [b"some"])


async def _until(look: Callable[[], Awaitable[RedisHealth]], wanted: Callable[[RedisHealth], bool]) -> tuple[str, ...]:
    async with asyncio.timeout(SOON_SECONDS):
        while not wanted(health := await look()):
            await asyncio.sleep(0.1)
    return health.bad


async def test_each_primary_of_a_cluster_is_tried(redis_cluster: RedisClusterService) -> None:
    """One is full, one has too few replicas, the third is well."""
    primaries: list[ClusterNode] = [
        node for node in redis_cluster.nodes if node.info("replication")["role"] == "master"
    ]
    first, second, third = (node.address.removeprefix("redis://").removesuffix("/0") for node in primaries)
    with (
        closing(redis.Redis.from_url(primaries[0].address)) as full,
        closing(redis.Redis.from_url(primaries[1].address)) as lonely,
    ):
        full.config_set("maxmemory", "1mb")
        lonely.config_set("min-replicas-to-write", "2")
        try:
            async with _looking(redis_cluster.address, partitions=64) as looks:
                for look in looks:
                    bad = "; ".join((await look()).bad)
                    assert "memory is full" in bad
                    assert f"({first}): raise maxmemory" in bad
                    assert "NOREPLICAS" in bad
                    assert f"({second}): bring replicas back" in bad
                    assert third not in bad
        finally:
            full.config_set("maxmemory", "0")
            lonely.config_set("min-replicas-to-write", "0")


@pytest.mark.needs_kafka
async def test_status_is_bad_while_every_request_is_503(
    services: Services, own_redis: _Redis, namespace: Namespace, tmp_path: Path
) -> None:
    """Both pages, within seconds, and they are well again by themselves."""
    on_it = replace(services, store=own_redis)
    async with Installation.open(on_it, namespace, tmp_path, partitions=1) as installation:
        pages = [installation.start_worker(), (door := await installation.open_door()).url]
        with closing(redis.Redis.from_url(own_redis.address)) as server:
            async with door.client("acme") as client:
                for limit, wanted in (("0", 200), ("1mb", 503), ("0", 200)):
                    server.config_set("maxmemory", limit)
                    async with asyncio.timeout(60):
                        answer = await client.post("/api/brain/sleep_mode", json={"target_state": "light"})
                        while answer.status_code != wanted:
                            await asyncio.sleep(0.1)
                            answer = await client.post("/api/brain/sleep_mode", json={"target_state": "light"})
                    for page in pages:
                        await _says(page, wanted)


async def _says(url: str, wanted: int) -> None:
    """Wait until a page says it, with what to do where it is bad."""
    async with asyncio.timeout(SOON_SECONDS), httpx.AsyncClient(base_url=url) as client:
        while True:
            answer = await client.get("/status")
            finding = answer.json()["dependencies"]["redis"]["finding"]
            expected = "memory is full" in finding and "raise maxmemory" in finding
            if answer.status_code == wanted and expected is (wanted == httpx.codes.SERVICE_UNAVAILABLE):
                return
            await asyncio.sleep(0.1)
