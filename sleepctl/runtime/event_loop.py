"""The event loop of a command: its signals, and an end within a stated time."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog
import uvloop

from schemas.tasks import end_tasks
from sleepctl.runtime.ending import INTERRUPTED, LastResort, leave
from sleepctl.runtime.logs import hush
from sleepctl.ui.errors import STOPPED_AT_ONCE, CommandError

Result = TypeVar("Result")
# A closed terminal sends SIGHUP. Embedded services must end then.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_SECONDS: Final = 50.0
"""How long a worker, an API or `run` may take to stop after the first signal. Then the process is ended.

A worker needs at most 45 s, and an API at most 25 s. Kubernetes' `terminationGracePeriodSeconds` should be 60.
"""
SUPERVISED_STOP_SECONDS: Final = STOP_SECONDS + 4
"""The same for a command of several processes: these have `STOP_SECONDS`, and are killed 2 s after that."""
AT_ONCE_SECONDS: Final = 2.0
"""How long the process may take after a second signal. Embedded services stop in that time."""
COMMAND_SECONDS: Final = 5.0
"""How long a short command may take to clean up after Ctrl-C."""
CLOSE_SECONDS: Final = 5.0
"""How long remaining tasks and threads may take after a command has its result."""

log = structlog.get_logger(__name__)


class _Signals:
    """Handles the signals of one run: the first asks to stop, the second cancels, the third ends the process.

    These are Python's signal handlers, not the event loop's, so that they run while the loop is blocked.

    Args:
        stop: called in the loop at the first signal.
        task: cancelled at the second signal.
        resort: ends a process that takes too long.
        seconds: how long the stop may take after the first signal.
        once: whether only the first signal counts.
    """

    def __init__(
        self,
        stop: Callable[[], object],
        task: "asyncio.Future[Any]",
        resort: LastResort,
        seconds: float,
        *,
        once: bool,
    ) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self._task = task
        self._resort = resort
        self._seconds = seconds
        self._once = once

    def __call__(self, *_: object) -> None:
        """Handle one signal."""
        if self._once and self.count:
            return
        self.count += 1
        if self.count == 1:
            self._resort.arm(self._seconds)
            self._loop.call_soon_threadsafe(self._stop)
        elif self.count == 2:  # noqa: PLR2004 - the second signal
            self._resort.arm(AT_ONCE_SECONDS, STOPPED_AT_ONCE)
            self._loop.call_soon_threadsafe(self._task.cancel)
        else:
            leave(STOPPED_AT_ONCE)


async def _to_the_end(
    main: Callable[[asyncio.Event], Awaitable[Result]],
    resort: LastResort,
    signals: tuple[signal.Signals, ...],
    *,
    seconds: float,
    cancels: bool = False,
    once: bool = False,
) -> Result:
    """Run `main`, and end all of its tasks.

    Args:
        main: runs until it ends; its event is set at the first signal.
        resort: ends a process that does not end.
        signals: the signals to handle.
        seconds: how long the stop may take after the first signal.
        cancels: whether the first signal cancels `main`, too.
        once: whether only the first signal counts.
    """
    stop = asyncio.Event()
    task = asyncio.ensure_future(main(stop))
    taken = _Signals(task.cancel if cancels else stop.set, task, resort, seconds, once=once)
    # `nohup` ignores SIGHUP, so that a process outlives its terminal.
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    counting = [number for number in signals if not (outlives and number == signal.SIGHUP)]
    before = {number: signal.signal(number, taken) for number in counting}
    try:
        if INTERRUPTED.is_set():
            raise KeyboardInterrupt
        return await task
    except asyncio.CancelledError:
        if taken.count > 1:
            raise CommandError("stopped at once, at the second signal", STOPPED_AT_ONCE) from None
        if cancels and taken.count:
            raise CommandError("stopped by Ctrl-C", STOPPED_AT_ONCE) from None
        raise
    finally:
        if taken.count > 1:
            resort.arm(AT_ONCE_SECONDS, STOPPED_AT_ONCE)
        else:
            resort.arm(CLOSE_SECONDS)
        others = [other for other in asyncio.all_tasks() if other is not asyncio.current_task()]
        for name in await end_tasks(others, seconds=CLOSE_SECONDS / 2):
            log.warning("task_not_ended", task=name)
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(make: Callable[[LastResort], Coroutine[Any, Any, Result]], runner: asyncio.Runner) -> Result:
    """Run a coroutine to its end, and close the loop within `CLOSE_SECONDS` after that."""
    resort = LastResort(runner.get_loop())
    try:
        with runner:
            return runner.run(make(resort))
    finally:
        resort.close()


def serve_until_stopped(main: Callable[[asyncio.Event], Awaitable[Result]], *, once: bool = False) -> Result:
    """Run `main(stop)` on uvloop and return its result.

    The first SIGTERM, SIGINT or SIGHUP sets `stop`, so that `main` can end. A second cancels it. A third ends the
    process. So does the `LastResort` after `STOP_SECONDS`, or `AT_ONCE_SECONDS` after the second signal.

    Args:
        main: the coroutine.
        once: whether only the first signal counts, for a process whose parent ends it at once if need be.

    Raises:
        CommandError: after a second signal, with exit status 130.
    """
    # Commands that do not use Kafka do not load its client.
    from worker.adapters.aiokafka_patches import mend_aiokafka  # noqa: PLC0415

    mend_aiokafka()
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    return _run(lambda resort: _to_the_end(main, resort, STOP_SIGNALS, seconds=STOP_SECONDS, once=once), runner)


def supervise_until_stopped(main: Callable[[asyncio.Event], Awaitable[Result]]) -> Result:
    """Run `main(stop)`, which starts processes, and return its result.

    Signals count as for `serve_until_stopped`. The `LastResort` leaves these processes their own `STOP_SECONDS` first.

    Raises:
        CommandError: after a second signal, with exit status 130.
    """
    return _run(
        lambda resort: _to_the_end(main, resort, STOP_SIGNALS, seconds=SUPERVISED_STOP_SECONDS), asyncio.Runner()
    )


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a short command to its end. Ctrl-C cancels it.

    Raises:
        CommandError: after Ctrl-C, with exit status 130.
    """
    hush()
    return _run(
        lambda resort: _to_the_end(lambda _: main, resort, (signal.SIGINT,), seconds=COMMAND_SECONDS, cancels=True),
        asyncio.Runner(),
    )
