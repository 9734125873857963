"""A Redis client of the tests' own, to a server or to a cluster, as the URL says."""

from typing import Any

import redis
import redis.asyncio as aio

CLUSTER_SCHEME = "redis+cluster://"

Client = aio.Redis | aio.RedisCluster
BlockingClient = redis.Redis | redis.RedisCluster


def redis_client(url: str, **options: Any) -> Client:  # noqa: ANN401 - whatever redis-py takes
    """Return a client; it connects when first used."""
    if url.startswith(CLUSTER_SCHEME):
        return aio.RedisCluster.from_url(_plain(url), **options)
    return aio.Redis.from_url(url, **options)


def blocking_client(url: str, **options: Any) -> BlockingClient:  # noqa: ANN401 - as above
    """Return a client for tests without a loop; that of a cluster connects at once."""
    if url.startswith(CLUSTER_SCHEME):
        return redis.RedisCluster.from_url(_plain(url), **options)
    return redis.Redis.from_url(url, **options)


def _plain(url: str) -> str:
    return url.replace(CLUSTER_SCHEME, "redis://", 1)
