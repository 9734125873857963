"""End a process that does not end in time, and print which tasks and threads still run."""

import asyncio
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Final

import structlog

from schemas.tasks import label

FAILED: Final = 1
FLUSH_SECONDS: Final = 1.0
"""How long a process that is ended by force waits for the reader of its output."""
INTERRUPTED: Final = threading.Event()
"""Set after Ctrl-C outside an event loop. An import at that moment may swallow the `KeyboardInterrupt`."""

log = structlog.get_logger(__name__)


class LastResort:
    """A thread that ends the process after a time. `close` ends the thread.

    It is needed for a task that swallows each cancel, a thread that does not return, and a blocked event loop.

    Args:
        loop: the event loop whose tasks are named; None to name only threads.
        end: ends the process; tests give their own.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, end: Callable[[int], object] | None = None
    ) -> None:
        self._loop = loop
        self._end_process = leave if end is None else end
        # A signal handler may call `put`, whatever code it interrupts.
        self._orders: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="last-resort", daemon=True)
        self._thread.start()

    def arm(self, seconds: float, status: int = FAILED) -> None:
        """End the process after some seconds. This replaces an earlier order."""
        self._orders.put((seconds, status))

    def close(self) -> None:
        """Cancel the order, and end the thread."""
        self._orders.put(None)
        self._thread.join()

    def _watch(self) -> None:
        order = self._orders.get()
        while order is not None:
            seconds, status = order
            try:
                order = self._orders.get(timeout=seconds)
            except queue.Empty:
                say_not_ended(seconds, self._tasks(), self._threads())
                self._end_process(status)
                return

    def _threads(self) -> list[str]:
        main = threading.main_thread()
        return sorted(each.name for each in threading.enumerate() if not each.daemon and each is not main)

    def _tasks(self) -> list[str]:
        try:
            return sorted(map(label, asyncio.all_tasks(self._loop))) if self._loop is not None else []
        except RuntimeError:  # The loop runs on, and may change its tasks while they are listed.
            return ["unknown"]


def say_not_ended(seconds: float, tasks: list[str], threads: list[str]) -> None:
    """Report which tasks and threads still run: in the log if it is configured, else on stderr."""
    if structlog.is_configured():
        log.error("process_ended_by_force", seconds=seconds, tasks=tasks, threads=threads)
        return
    running = ", ".join([*tasks, *threads]) or "unknown"
    sys.stderr.write(f"sleepctl: ended by force: it did not end within {seconds:g} s; still running: {running}\n")


def leave(status: int) -> None:
    """End the process at once, after flushing its buffers for at most `FLUSH_SECONDS`."""
    # Another thread may hold a stream's lock, and wait for a reader that has stopped reading.
    flushing = threading.Thread(target=_flush, name="last-flush", daemon=True)
    flushing.start()
    flushing.join(FLUSH_SECONDS)
    os._exit(status)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, RuntimeError):  # A broken pipe, a closed file, or the main thread is writing.
            continue
