"""A Redis client of the tests' own, to a server or to a cluster, as the URL says."""

from typing import Any

import redis
import redis.asyncio as aio

CLUSTER_SCHEME = "redis+cluster://"

# redis-py types the commands of both as awaitable or not; a test knows.
Client = Any
BlockingClient = Any


def redis_client(url: str, **options: Any) -> Client:  # noqa: ANN401 - see above
    """Return a client; it connects when first used."""
    if url.startswith(CLUSTER_SCHEME):
        return aio.RedisCluster.from_url(_plain(url), **options)
    return aio.Redis.from_url(url, **options)


def listening_client(url: str) -> aio.Redis:
    """Return a client that can listen to channels: that of a cluster cannot, and any one node hears them all."""
    client: aio.Redis = aio.Redis.from_url(_plain(url))
    return client


def blocking_client(url: str, **options: Any) -> BlockingClient:  # noqa: ANN401 - as above
    """Return a client for tests without a loop; that of a cluster connects at once."""
    if url.startswith(CLUSTER_SCHEME):
        return redis.RedisCluster.from_url(_plain(url), **options)  # type: ignore[no-untyped-call]  # left without types
    return redis.Redis.from_url(url, **options)


def _plain(url: str) -> str:
    return url.replace(CLUSTER_SCHEME, "redis://", 1)
