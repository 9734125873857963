"""Keeps a consumer running: restarts it if it gives up, and stops it in bounded time."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import faust
import structlog
from aiokafka.errors import KafkaError

from schemas.backoff import Backoff
from schemas.errors import describe
from schemas.tasks import end_tasks

STOP_SECONDS: Final = 10.0
"""How long a consumer may take to stop, and how long producer and reader together."""
_TASK_SECONDS: Final = 3.0
# A lane that was just created has hardly begun.
_LATE_SECONDS: Final = 1.0

log = structlog.get_logger("worker.runtime.faust.consumer_supervisor")


async def _end_nothing(_: float = 0) -> None:
    """End nothing."""


class SupervisedConsumer:
    """A Faust app, and the next one if it crashes. Two supervised consumers do not affect each other.

    Args:
        name: its name in the log. The event `<name>_ready` says that it has joined its group.
        group: the consumer group that it joins.
        build: builds the app.
        chance: the jitter of restarts.
        end: ends the tasks that process its batches: before it is stopped, and after it, then within the given seconds.
        survives: errors after which the consumer is restarted; any other error ends the worker.

    Attributes:
        app: the present app.
        joined: whether it has joined its group once.
        problem: why it does not run, None if it runs.
    """

    def __init__(
        self,
        name: str,
        group: str,
        build: Callable[[], faust.App],
        chance: random.Random,
        *,
        end: Callable[..., Awaitable[object]] = _end_nothing,
        survives: tuple[type[Exception], ...] = (KafkaError, OSError),
    ) -> None:
        self.app: faust.App | None = None
        self.joined = False
        self.problem: str | None = "starting: waits for the other members of its group"
        self._name = name
        self._group = group
        self._build = build
        self._random = chance
        self._end = end
        self._survives = survives

    async def run(self, stop: asyncio.Event) -> None:
        """Run Faust until stopped, and restart it if it gives up."""
        backoff = Backoff(self._random)
        while not stop.is_set():
            app: faust.App | None = None
            try:
                app = self.app = self._build()
                consuming = asyncio.create_task(self._consume(app), name=self._name)
                await first(consuming, stop.wait())
                if consuming.done() and not consuming.cancelled():
                    consuming.result()
            except self._survives as error:
                self.problem = describe(error)
            finally:
                crash = None if app is None else app.crash_reason
                # The present pieces are committed while the partitions are still assigned.
                await self._end()
                if app is not None:
                    await within(STOP_SECONDS, app.stop(), self._name, self._survives)
                # A rebalance meanwhile may have assigned partitions, for which the next consumer has not sought.
                await self._end(_LATE_SECONDS)
            if not stop.is_set():
                if crash is not None:
                    self.problem = f"the consumer stopped: {crash!r}; it is restarted"
                log.error("consumer_restarts", consumer=self._name, reason=self.problem)
                await wait(stop, backoff.next())

    async def _consume(self, app: faust.App) -> None:
        """Run one Faust app until it stops or crashes. Its start may take long: it waits for the group."""
        await app.start()
        self.joined, self.problem = True, None
        ready = f"{self._name}_ready"
        log.info(ready, group=self._group)
        await first(app.wait_until_stopped(), _crashed(app))


async def _crashed(app: faust.App) -> None:
    await app._crashed.wait()  # noqa: SLF001 - Faust has no public way to wait for a crash


async def wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait for `seconds`, or until stopped."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def within(
    seconds: float,
    stopping: Coroutine[Any, Any, object],
    what: str,
    survives: tuple[type[Exception], ...] = (KafkaError, OSError),
) -> None:
    """Wait until a service has stopped, and go on without it if an unreachable broker keeps it.

    Such a service is cancelled and not awaited: Faust ignores the first cancellation and commits again.
    """
    task = asyncio.create_task(stopping, name=f"stop-{what}")
    done, _ = await asyncio.wait([task], timeout=seconds)
    if not done:
        log.warning("not_stopped", what=what, seconds=seconds)
        task.add_done_callback(_forget)
        task.cancel()
        return
    try:
        task.result()
    except survives as error:
        log.warning("not_stopped", what=what, error=describe(error))


def _forget(task: asyncio.Task[object]) -> None:
    """Read a late result, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()


async def first(*waits: Awaitable[object]) -> None:
    """Wait for the first of several awaitables, and cancel the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_all(*tasks)


async def end_all(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks until they end, and go on without tasks that do not end in time."""
    for name in await end_tasks((task for task in tasks if isinstance(task, asyncio.Task)), seconds=_TASK_SECONDS):
        log.error("task_not_ended", task=name, seconds=_TASK_SECONDS)
