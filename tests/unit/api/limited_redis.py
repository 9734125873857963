"""A limiter over a fake Redis that runs the real script of the limits."""

from importlib import resources
from typing import Any, cast

from lupa.lua51 import LuaRuntime

from api.adapters.redis_limiter import RedisLimiter
from api.security.rate_limits import parse_limits
from schemas.redis.client import RedisClient
from schemas.settings import Settings
from tests.support.settings import settings_of
from tests.unit.api.fakes import FakeClock


def settings(**limits: str) -> Settings:
    """Settings with these rate limits; `any` stands for `*`."""
    return settings_of(rate_limits={action.replace("any", "*"): limit for action, limit in limits.items()})


class ScriptedRedis:
    """Lists of times and a clock; the script runs as it is, in the Lua that Redis has."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.lists: dict[str, list[str]] = {}
        self.failure: Exception | None = None
        self.round_trips = 0
        self._lua = LuaRuntime(unpack_returned_tuples=False)

    async def evalsha(self, _: str, number: int, *keys_and_arguments: object) -> list[int | bytes]:
        self.round_trips += 1
        if self.failure is not None:
            raise self.failure
        lua: Any = self._lua  # its stubs know no members of a table
        words = [str(word) for word in keys_and_arguments]
        names = lua.globals()
        names.redis = lua.table(call=self._call)
        names.KEYS, names.ARGV = lua.table(*words[:number]), lua.table(*words[number:])
        text = resources.files("api.adapters.lua").joinpath("spend.lua").read_text("utf-8")
        answer = lua.execute(text)
        return [word.encode() if isinstance(word, str) else int(word) for word in answer.values()]

    def _call(self, name: str, *arguments: str | float) -> object:
        if name == "TIME":
            return self._lua.table(str(self.clock.now // 1000), str(self.clock.now % 1000 * 1000))
        key, *rest = arguments
        times = self.lists.get(str(key), [])
        match name, rest:
            case "LLEN", []:
                return len(times)
            case "LINDEX", [index]:
                at = int(index)
                return times[at] if -len(times) <= at < len(times) else False
            case "LPUSH", [time]:
                self.lists[str(key)] = [str(time), *times]
            case "LTRIM", [start, stop]:
                self.lists[str(key)] = times[int(start) : int(stop) + 1 or None]
            case "DEL", []:
                del self.lists[str(key)]
            case "EXPIRE", [_]:
                pass
            case _:
                raise AssertionError((name, arguments))
        return None

    def pipeline(self, *, transaction: bool) -> "ScriptedRedis":
        assert not transaction
        return self

    def execute_command(self, name: str, *arguments: str | int) -> None:
        self._call(name, *arguments)

    async def execute(self) -> None:
        if self.failure is not None:
            raise self.failure


class LimitedRedis:
    """A limiter over a fake Redis, and the clock of that Redis."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.redis = ScriptedRedis(self.clock)

    def limiter(self, **limits: str) -> RedisLimiter:
        return RedisLimiter(cast("RedisClient", self.redis), "sleep", 8, parse_limits(settings(**limits)))
