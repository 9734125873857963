"""The function of the caller that returns tokens. It may wait, and holds up neither a stream nor its end."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread
from typing import Final, cast

from sleep_client.runtime.address import check_token

TOKEN_SECONDS: Final = 10.0
"""How long the function may take."""
TokenFunction = Callable[[], str] | Callable[[], Awaitable[str]]


class NoTokenError(Exception):
    """There is no usable token. The text says why, and has no secret."""


async def fetch(token: str | TokenFunction) -> str:
    """Return a token: the given one, or what the function returns.

    The function is called in a thread of its own. If it returns an awaitable, that is awaited here.

    Raises:
        NoTokenError: if it raises, takes too long, or returns what no token can be.
    """
    if isinstance(token, str):
        return token
    try:
        return check_token(await asyncio.wait_for(_call(token), TOKEN_SECONDS))
    except asyncio.TimeoutError:
        raise NoTokenError(f"the function of the token took more than {TOKEN_SECONDS:g} s") from None
    except Exception as error:  # noqa: BLE001 - a function of the caller may raise anything, and its text may be secret
        raise NoTokenError(f"there is no usable token ({type(error).__name__})") from None


async def _call(function: TokenFunction) -> object:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[object] = loop.create_future()

    def settle(value: object, error: Exception | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)

    def run() -> None:
        value: object = None
        failure: Exception | None = None
        try:
            value = function()
        except Exception as error:  # noqa: BLE001 - as above
            failure = error
        # The loop may be closed, since nobody waits for a function that takes too long.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, value, failure)

    # A daemon, so that a function that hangs keeps no process from its end.
    Thread(target=run, name="sleep-token", daemon=True).start()
    value = await result
    return await cast("Awaitable[object]", value) if inspect.isawaitable(value) else value
