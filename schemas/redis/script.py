"""Lua scripts, run in Redis."""

from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError


class Script:
    """A script, sent by its digest, and by its text if the server does not know it.

    Args:
        text: the script.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: "Redis | RedisCluster", keys: Sequence[str], arguments: Sequence[Any]) -> Any:  # noqa: ANN401 - the script's to say
        """Return the answer of the script."""
        client: Any = redis  # redis-py types a script's answer as text, awaitable or not.
        try:
            return await client.evalsha(self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            # Redis is new, was restarted or failed over. EVAL stores the text again.
            return await client.eval(self._text, len(keys), *keys, *arguments)
