"""Running until told to stop: the event loop and its signals."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import uvloop

from sleepctl.errors import CommandError
from sleepctl.logs import hush

Result = TypeVar("Result")
STOPPED_AT_ONCE: Final = 130
# A terminal that is closed sends SIGHUP; what runs embedded must not stay behind then.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve_until_stopped(main: Callable[[asyncio.Event], Awaitable[Result]]) -> Result:
    """Run `main(stop)` on uvloop and return what it does.

    The first SIGTERM, SIGINT or SIGHUP sets `stop`, so that `main` ends in its own time; a second cancels it.

    Raises:
        CommandError: after a second signal, with exit status 130.
    """

    async def guarded() -> Result:
        stop = asyncio.Event()
        task = asyncio.ensure_future(main(stop))
        cancelled = False

        def on_signal() -> None:
            nonlocal cancelled
            if stop.is_set():
                cancelled = True
                task.cancel()
            stop.set()

        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, on_signal)
        try:
            return await task
        except asyncio.CancelledError:
            if not cancelled:
                raise
            raise CommandError("stopped at once, at the second signal", STOPPED_AT_ONCE) from None
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)

    # Kafka's client is not loaded by commands that do without it.
    from sleepctl.loops import mend_aiokafka  # noqa: PLC0415

    mend_aiokafka()
    return uvloop.run(guarded())


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a short command to its end."""
    hush()
    return asyncio.run(main)
