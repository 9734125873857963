"""The client that the store speaks through: a server's or a cluster's, and what is an outage of it."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.asyncio import Connection, RedisCluster
from redis.exceptions import RedisClusterException

from schemas.redis.progress import ProgressUpdate
from schemas.redis.shared import SharedRedis
from tests.support.settings import settings_of
from tests.unit.worker.redis_client import FakeRedis, store_of
from worker.adapters.redis_store import LaneStore
from worker.ports import Commit, StoreError


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.ping(),
        lambda store: store.partition_status(0),
        lambda store: store.load(0, 0, [], []),
        lambda store: store.scan(0, 0, 10),
        lambda store: store.commit(0, Commit(0, ProgressUpdate(next=1))),
    ],
)
async def test_a_cluster_of_which_no_node_answers_is_an_outage_like_any_other(
    call: Callable[[LaneStore], Awaitable[object]],
) -> None:
    """Its client has an error for that which is no RedisError, and would stop the lanes."""
    store = store_of(FakeRedis(RedisClusterException("Redis Cluster cannot be connected")))
    with pytest.raises(StoreError, match="cannot be connected"):
        await call(store)


async def test_a_ping_and_a_close_go_to_the_client() -> None:
    """For /status, and for the end."""
    redis = FakeRedis(b"PONG", None)
    store = store_of(redis)
    await store.ping()
    await store.close()
    assert redis.sent == [("ping",), ("aclose",)]


async def test_a_client_neither_waits_for_ever_nor_repeats_a_command_by_itself() -> None:
    """A commit that was repeated blindly could only be refused; the lane looks first what became of it."""
    store = LaneStore.connect(settings_of(redis_url="rediss://:secret@redis.example:6380/2"))
    client = store._redis  # noqa: SLF001 - what the client was told is all there is to see without a socket
    assert isinstance(client, SharedRedis)
    options = client.connection_pool.connection_kwargs
    assert (options["host"], options["port"], options["db"], options["password"]) == (
        "redis.example",
        6380,
        2,
        "secret",
    )
    assert options["retry"].get_retries() == 0
    assert (client.seconds, client.resends) == (5.0, False)
    await store.close()


async def test_a_cluster_is_spoken_to_as_one() -> None:
    """The URL says so."""
    store = LaneStore.connect(settings_of(redis_url="redis+cluster://redis.example:7000"))
    assert isinstance(store._redis, RedisCluster)  # noqa: SLF001 - as above
    await store.close()


async def test_info_of_a_single_server_has_no_name() -> None:
    """It is the only one."""
    redis = FakeRedis({"aof_enabled": 1})
    assert await store_of(redis).primaries(1).info() == {"": {"aof_enabled": 1}}
    assert redis.sent == [("info",)]


class _Cluster(RedisCluster):
    """Knows two primaries, until it is made to look: then it is another one in the place of the first."""

    def __init__(self, role: str) -> None:
        """Connect to nothing."""
        self.asked: list[object] = []
        self.told = role
        self.names = ["a:1", "b:1"]
        self.nodes_manager = cast("Any", SimpleNamespace(initialize=self.look))

    def __del__(self, *_: object) -> None:
        """Nothing to close."""

    async def initialize(self, *_: object, **__: object) -> "RedisCluster":
        return self

    async def look(self) -> None:
        self.asked.append("look")
        self.told, self.names = "master", ["c:1", "b:1"]

    def get_primaries(self) -> list[Any]:
        return [SimpleNamespace(name=name) for name in self.names]

    async def info(self, *, target_nodes: SimpleNamespace) -> dict[str, object]:  # type: ignore[override]
        self.asked.append(target_nodes.name)
        return {"role": "master" if target_nodes.name == "b:1" else self.told}


@pytest.mark.parametrize(
    ("role", "asked"), [("master", ["a:1", "b:1"]), ("slave", ["a:1", "b:1", "look", "c:1", "b:1"])]
)
async def test_info_of_a_cluster_is_asked_of_each_primary(role: str, asked: list[str]) -> None:
    """Where one is a replica by now, the client is made to look who took over; it counts no replicas itself."""
    cluster = _Cluster(role)
    store = LaneStore(cluster, "sleep")
    assert await store.primaries(1).info() == {name: {"role": "master"} for name in asked[-2:]}
    assert cluster.asked == asked


async def test_a_cluster_that_was_away_as_a_whole_is_found_again() -> None:
    """The client would forget each node that did not answer."""
    store = LaneStore.connect(settings_of(redis_url="redis+cluster://redis.example:7000"))
    client = store._redis  # noqa: SLF001 - as above
    assert isinstance(client, RedisCluster)
    assert client.nodes_manager.startup_nodes.pop("redis.example:7000", None) is not None
    assert "redis.example:7000" in client.nodes_manager.startup_nodes
    await store.close()


class _ClosedWriter:
    """What a loop leaves behind of a connection that was closed while nobody looked."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def writelines(self, _: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    "writer",
    [
        None,
        _ClosedWriter(RuntimeError("the handler is closed")),
        _ClosedWriter(OSError("no route to host")),
        _ClosedWriter(TimeoutError()),
        _ClosedWriter(asyncio.IncompleteReadError(b"", 1)),
    ],
)
async def test_a_connection_that_was_closed_under_a_call_is_waited_out(writer: object) -> None:
    """What comes out of the client then is no error of Redis; the lane waits, and is not ended by it."""

    class _Closing:
        async def ping(self) -> None:
            connection = Connection()
            vars(connection)["_writer"] = writer
            await connection._send_packed_command([b"PING"])  # noqa: SLF001 - what it comes to without a socket

    with pytest.raises(StoreError):
        await store_of(cast("Any", _Closing())).ping()


async def test_a_defect_of_ours_is_no_outage() -> None:
    """It ends the lane, loudly."""

    class _Broken:
        async def ping(self) -> None:
            _ = cast("Any", None).tenant

    with pytest.raises(AttributeError):
        await store_of(cast("Any", _Broken())).ping()


async def test_a_cluster_s_client_repeats_no_command_either() -> None:
    """As that of a server."""
    store = LaneStore.connect(settings_of(redis_url="redis+cluster://redis.example:7000"))
    client = store._redis  # noqa: SLF001 - as above
    assert isinstance(client, RedisCluster)
    assert client.retry.get_retries() == 0
    await store.close()
