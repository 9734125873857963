"""A Redis that is not run as a database is named by the pages of worker and API: one server, and a cluster."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.services import Namespace, Services
from tests.services.cluster import ClusterNode, RedisClusterService
from tests.support.configured_redis import configured
from tests.support.installation import Installation

Page = dict[str, Any]
EVICTS = "maxmemory-policy is allkeys-lru"
AOF = "the AOF is off"
REPLICA = "no replica is connected"


async def pages(installation: Installation, wanted: Callable[[Page], bool]) -> list[tuple[int, Page]]:
    """Start a worker and an API, and return status code and text of their pages once they are as wanted."""
    worker, door = installation.start_worker(), await installation.open_door()
    seen: list[tuple[int, Page]] = []
    for url in (worker, door.url):
        async with asyncio.timeout(40), httpx.AsyncClient(base_url=url, timeout=30) as client:
            while True:
                try:
                    answer = await client.get("/status")
                except httpx.TransportError:
                    answer = httpx.Response(503, json={})
                page = answer.json()
                if wanted(page):
                    seen.append((answer.status_code, page))
                    break
                await asyncio.sleep(0.1)
    for process in installation.processes:
        if process.running:
            await asyncio.to_thread(process.stop)
    return seen


def redis_of(page: Page) -> str:
    """Return what a page says of Redis."""
    return str(page.get("dependencies", {}).get("redis", {}).get("finding", ""))


async def test_a_server_that_evicts_or_keeps_no_aof_is_named(
    services: Services, namespace: Namespace, tmp_path: Path
) -> None:
    """Eviction is bad: 503, though Redis answers; the rest are warnings. The tests' one server has no replica."""
    if isinstance(services.store, RedisClusterService):
        pytest.skip("there is no single server")
    async with Installation.open(services, namespace, tmp_path, partitions=1) as installation:
        # Until it is in its group, and has looked at its partition, a worker is not well either.
        for code, page in await pages(installation, lambda page: page.get("status") == "ok" and bool(page["warnings"])):
            assert code == httpx.codes.OK, page
            assert [REPLICA in warning for warning in page["warnings"]] == [True]
        with configured(services.redis, **{"maxmemory-policy": "allkeys-lru", "appendonly": "no"}):
            for code, page in await pages(installation, lambda page: EVICTS in redis_of(page)):
                assert code == httpx.codes.SERVICE_UNAVAILABLE
                assert any(AOF in warning for warning in page["warnings"])


async def test_each_primary_of_a_cluster_is_looked_at(
    on_cluster: Services, redis_cluster: RedisClusterService, namespace: Namespace, tmp_path: Path
) -> None:
    """One evicts, one keeps no AOF, one lost its replica: each is named with its address."""
    primaries: list[ClusterNode] = [
        node for node in redis_cluster.nodes if node.info("replication")["role"] == "master"
    ]
    first, second, third = (node.address.removeprefix("redis://").removesuffix("/0") for node in primaries)
    async with Installation.open(on_cluster, namespace, tmp_path, partitions=1) as installation:
        await asyncio.to_thread(redis_cluster.replica_of(primaries[2]).kill)
        with (
            configured(primaries[0].address, **{"maxmemory-policy": "allkeys-lru"}),
            configured(primaries[1].address, appendonly="no"),
        ):
            for code, page in await pages(
                installation, lambda page: EVICTS in redis_of(page) and len(page["warnings"]) > 1
            ):
                assert code == httpx.codes.SERVICE_UNAVAILABLE
                assert f"{EVICTS} ({first})" in redis_of(page)
                assert [f"({second})" in warning and AOF in warning for warning in page["warnings"]].count(True) == 1
                assert [f"({third})" in warning and REPLICA in warning for warning in page["warnings"]].count(True) == 1
