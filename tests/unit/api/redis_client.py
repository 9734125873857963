"""A client of Redis as two dicts, a store on it, and settings that name another."""

from collections.abc import Generator
from typing import Any, cast

from api.adapters.redis_store import RedisStore
from schemas.redis.client import RedisClient


class FakeRedis:
    """Just the commands that are used, over two dicts; counts round trips."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.hashes: dict[tuple[str, str | bytes], bytes] = {}
        self.trips = 0
        self.queued: list[str] = []
        self.failure: Exception | None = None
        self._queued: list[Any] = []

    def _trip(self) -> None:
        self.trips += 1
        if self.failure is not None:
            raise self.failure

    def pipeline(self, *, transaction: bool) -> "FakeRedis":
        assert not transaction
        return self

    def execute_command(self, name: str, *arguments: Any) -> object:  # noqa: ANN401 - keys, and fields in text or bytes
        self.queued.append(" ".join((name, *map(str, arguments))))
        if name == "HGET":
            self._queued.append(self.hashes.get((arguments[0], arguments[1])))
            return self
        if name == "HMGET":
            self._queued.append([self.hashes.get((arguments[0], field)) for field in arguments[1:]])
            return self
        assert name == "MGET"
        self._queued.append([self.values.get(key) for key in arguments])
        return self

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._only().__await__()

    async def _only(self) -> object:
        [answer] = await self.execute()
        return answer

    async def execute(self) -> list[Any]:
        self._trip()
        answers, self._queued = self._queued, []
        return answers


def store_of(redis: FakeRedis) -> RedisStore:
    """A store on such a client."""
    return RedisStore(cast("RedisClient", redis), "sleep", 8)
