"""Ending tasks within a time, whatever they do."""

import asyncio
from asyncio import Future
from contextlib import suppress
from functools import partial

import pytest

from schemas.tasks import await_done, end_tasks, label


async def _swallowing(cancels: int, release: asyncio.Event) -> None:
    """Swallow so many cancels, as redis-py's `wait_for` on Python 3.11 does with one that comes at the wrong moment."""
    for _ in range(cancels):
        with suppress(asyncio.CancelledError):
            await release.wait()
    await asyncio.Event().wait()


async def _started(*tasks: "asyncio.Task[None]") -> None:
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_a_task_that_swallows_cancels_is_cancelled_again() -> None:
    """Until it has ended."""
    tasks = [asyncio.create_task(_swallowing(cancels, asyncio.Event())) for cancels in range(4)]
    await _started(*tasks)
    assert await end_tasks(tasks, seconds=5, again=0.001) == []
    assert all(task.cancelled() for task in tasks)


async def test_a_task_that_swallows_each_cancel_is_named_in_time() -> None:
    """With what it waits for; the others have ended."""
    release = asyncio.Event()

    async def swallow() -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    stubborn = asyncio.create_task(swallow(), name="stubborn")
    other = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    assert await end_tasks([stubborn, other], seconds=0.01, again=0.001) == [
        f"stubborn ({swallow.__qualname__} > Event.wait)"
    ]
    assert other.cancelled()
    release.set()
    await stubborn


async def test_an_error_in_the_place_of_a_cancel_is_not_raised() -> None:
    """Nor reported as one that nobody has looked at."""

    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("Timed out closing connection")

    async def failed() -> None:
        raise OSError("before")

    tasks = [asyncio.create_task(fail()), asyncio.create_task(failed())]
    await asyncio.sleep(0)
    assert await end_tasks(tasks, seconds=5) == []


async def test_no_tasks_end_at_once() -> None:
    """And a label is of use for a task that has ended, too."""
    assert await end_tasks([], seconds=5) == []
    task = asyncio.create_task(asyncio.sleep(0), name="nap")
    await task
    assert label(task).startswith("nap (")


async def test_a_future_is_waited_for_until_it_is_done() -> None:
    """Whatever became of it, and it keeps its error."""
    loop = asyncio.get_running_loop()
    for late in (False, True):
        for failure in (None, OSError()):
            future: Future[None] = loop.create_future()
            settle = partial(future.set_result, None) if failure is None else partial(future.set_exception, failure)
            if late:
                loop.call_soon(settle)
            else:
                settle()
            assert await await_done(future, 60.0)
            assert future.exception() is failure


async def test_a_future_that_does_not_come_is_left_as_it_is() -> None:
    """Neither the end of the time nor the end of the caller cancels it."""
    future: Future[None] = asyncio.get_running_loop().create_future()
    assert not await await_done(future, 0.0)
    waiting = asyncio.create_task(await_done(future, 60.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not future.done()
    future.set_result(None)
    assert await await_done(future, 0.0)
