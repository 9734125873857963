"""A limiter and receipts over a fake Redis that runs the real scripts of the API."""

from hashlib import sha1
from importlib import resources
from typing import Any, cast

from lupa.lua51 import LuaRuntime

from api.adapters.redis_limiter import RedisLimiter
from api.adapters.redis_receipts import RedisReceipts
from api.security.rate_limits import parse_limits
from schemas.redis.client import RedisClient
from schemas.settings import Settings
from tests.support.settings import settings_of
from tests.unit.api.fakes import FakeClock

_TEXTS = [file.read_bytes() for file in resources.files("api.adapters.lua").iterdir() if file.name.endswith(".lua")]
_SCRIPTS = {sha1(text, usedforsecurity=False).hexdigest(): text.decode() for text in _TEXTS}


def settings(**limits: str) -> Settings:
    """Settings with these rate limits; `any` stands for `*`."""
    return settings_of(rate_limits={action.replace("any", "*"): limit for action, limit in limits.items()})


class ScriptedRedis:
    """Lists of times, texts, hashes and a clock; the scripts run as they are, in the Lua that Redis has."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.lists: dict[str, list[str]] = {}
        self.texts: dict[str, bytes] = {}
        self.lifetimes: dict[str, int] = {}
        self.hashes: dict[tuple[str, bytes], bytes] = {}
        self.failure: Exception | None = None
        self.round_trips = 0
        # Latin-1 gives each byte a character, so that Lua sees the bytes as they are.
        runtime: Any = LuaRuntime  # its stubs do not know the encoding
        self._lua = runtime(unpack_returned_tuples=False, encoding="latin-1")

    async def evalsha(self, digest: str, number: int, *keys_and_arguments: object) -> object:
        self._trip()
        lua = self._lua
        words = [word.decode("latin-1") if isinstance(word, bytes) else str(word) for word in keys_and_arguments]
        names = lua.globals()
        names.redis = lua.table(call=self._call)
        names.KEYS, names.ARGV = lua.table(*words[:number]), lua.table(*words[number:])
        answer = lua.execute(_SCRIPTS[digest])
        if answer is None or answer is False:
            return None
        if isinstance(answer, str):
            return answer.encode("latin-1")
        return [word.encode() if isinstance(word, str) else int(word) for word in answer.values()]

    def _trip(self) -> None:
        self.round_trips += 1
        if self.failure is not None:
            raise self.failure

    def _call(self, name: str, *arguments: str | float) -> object:
        match name, arguments:
            case "TIME", []:
                return self._lua.table(str(self.clock.now // 1000), str(self.clock.now % 1000 * 1000))
            case "HGET", [key, field]:
                packed = self.hashes.get((str(key), str(field).encode("latin-1")))
                return False if packed is None else packed.decode("latin-1")
            case "GET", [key]:
                text = self.texts.get(str(key))
                return False if text is None else text.decode("latin-1")
            case "SET", [key, text, "PX", lifetime, *condition]:
                return self._set(str(key), str(text).encode("latin-1"), int(lifetime), nx=condition == ["NX"])
            case "DEL", [key]:
                self.lists.pop(str(key), None)
                return self.texts.pop(str(key), None) is not None
            case _:
                key, *rest = arguments
                return self._call_list(name, str(key), rest)

    def _call_list(self, name: str, key: str, rest: list[str | float]) -> object:
        times = self.lists.get(key, [])
        match name, rest:
            case "LLEN", []:
                return len(times)
            case "LINDEX", [index]:
                at = int(index)
                return times[at] if -len(times) <= at < len(times) else False
            case "LPUSH", [time]:
                self.lists[key] = [str(time), *times]
            case "LTRIM", [start, stop]:
                self.lists[key] = times[int(start) : int(stop) + 1 or None]
            case "EXPIRE", [seconds]:
                self.lifetimes[key] = int(seconds) * 1000
            case _:
                raise AssertionError((name, key, rest))
        return None

    def _set(self, key: str, text: bytes, lifetime: int, *, nx: bool) -> bool:
        if nx and key in self.texts:
            return False
        self.texts[key], self.lifetimes[key] = text, lifetime
        return True

    async def set(self, key: str, text: bytes, *, px: int, nx: bool) -> bool | None:
        self._trip()
        return self._set(key, text, px, nx=nx) or None

    def pipeline(self, *, transaction: bool) -> "ScriptedRedis":
        assert not transaction
        return self

    def execute_command(self, name: str, *arguments: str | int) -> None:
        self._call(name, *arguments)

    async def execute(self) -> None:
        if self.failure is not None:
            raise self.failure


class LimitedRedis:
    """A limiter and receipts over a fake Redis, and the clock of that Redis."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.redis = ScriptedRedis(self.clock)
        self.receipts = RedisReceipts(cast("RedisClient", self.redis), "sleep", 8)

    def limiter(self, **limits: str) -> RedisLimiter:
        quotas = parse_limits(settings(**limits))
        return RedisLimiter(cast("RedisClient", self.redis), "sleep", 8, quotas, self.receipts)
