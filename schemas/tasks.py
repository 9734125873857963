"""Ends tasks within a time, for worker, API and command line."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

CANCEL_AGAIN_SECONDS: Final = 1.0
_LONGEST_CHAIN: Final = 10


async def await_done(future: "asyncio.Future[Any]", seconds: float) -> bool:
    """Wait until a future is done, but no longer than this, and return whether it is.

    As `asyncio.wait` it neither cancels the future nor raises its error. For one future it takes half as long.
    """
    if not future.done():
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake(_: object = None) -> None:
            if not woken.done():
                woken.set_result(None)

        timer = loop.call_later(seconds, wake)
        future.add_done_callback(wake)
        try:
            await woken
        finally:
            timer.cancel()
            future.remove_done_callback(wake)
    return future.done()


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"], *, seconds: float, again: float | None = None) -> list[str]:
    """Cancel tasks repeatedly, and return the labels of those that do not end in time.

    One cancel is not enough. `asyncio.wait_for` of Python 3.11 swallows a cancel that comes as its own wait ends, and
    redis-py uses it. A connection that fails to close raises its own error instead of the cancel, and a task that
    retries then continues. The errors of the tasks are not raised.

    Args:
        tasks: the tasks to end.
        seconds: the time for all of them together.
        again: seconds between two cancels, by default `CANCEL_AGAIN_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    again = CANCEL_AGAIN_SECONDS if again is None else again
    deadline = loop.time() + seconds
    ending = set(tasks)
    running = {task for task in ending if not task.done()}
    while running and (remaining := deadline - loop.time()) > 0:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=min(again, remaining))
    for task in ending - running:
        # Retrieved, or asyncio would report an exception that was never retrieved.
        if not task.cancelled():
            task.exception()
    for task in running:
        task.add_done_callback(_look_at)
    return sorted(map(label, running))


def label(task: "asyncio.Task[Any]") -> str:
    """Return a task's name and its chain of coroutines, from the outermost to the innermost."""
    chain: list[str] = []
    waiting: Any = task.get_coro()
    while (name := getattr(waiting, "__qualname__", None)) is not None and len(chain) < _LONGEST_CHAIN:
        chain.append(name)
        waiting = getattr(waiting, "cr_await", None)
    return f"{task.get_name()} ({' > '.join(chain)})"


def _look_at(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
