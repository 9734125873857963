"""A client of Redis that notes what is sent and answers from a list, and a store on it."""

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from redis.asyncio import Redis

from worker.adapters.redis_store import LaneStore

Sent = list[tuple[Any, ...]]


class FakeRedis:
    """Notes what is sent and answers what the test has laid out."""

    def __init__(self, *answers: object) -> None:
        self.sent: Sent = []
        self.answers: deque[Any] = deque(answers)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def command(*arguments: object, **options: object) -> object:
            self.sent.append((name, *arguments, *options.items()))
            answer = self.answers.popleft() if self.answers else None
            if isinstance(answer, Exception):
                raise answer
            return answer

        return command


def store_of(redis: FakeRedis) -> LaneStore:
    """Return a store on a client that notes what is sent."""
    return LaneStore(cast("Redis", redis), "sleep")
