"""The place of one child, over all its lives: started, watched, started again, stopped."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

import structlog

from schemas.backoff import Backoff
from schemas.errors import describe
from schemas.http.pages import OK, Page, PageName
from schemas.tasks import end_tasks
from sleepctl.processes.metrics import counts_of, merged
from sleepctl.processes.pages import Said
from sleepctl.ui.errors import WRONG_SETTINGS

STEADY_SECONDS: Final = 10.0
"""A child that has lived this long is started again as quickly as after a first failure."""
ASK_SECONDS: Final = 1.0
"""How long a child may take for a page."""
POLL_SECONDS: Final = 5.0
"""How often a child's counters are read. After `kill -9` those of the last 5 seconds are lost."""
SILENT_POLLS: Final = 12
"""After so many polls without an answer, about a minute, a child is killed: no probe reaches one child alone.

Polls are counted, not seconds: after a pause of the whole machine each child has time to answer.
"""
_END_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Process(Protocol):
    """A child that runs."""

    @property
    def pid(self) -> int:
        """Its process id."""

    async def wait(self) -> int:
        """Wait for its end, and return its exit status: below 0 the number of a signal."""

    async def ask(self, name: PageName, seconds: float) -> Page | None:
        """Return a page of it, None if it does not answer in time."""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""


class Slot:
    """One child.

    Args:
        number: its number, from 1 on.
        start: starts the process with this number.
        backoff: how long to wait before it is started again.
        now: monotonic, in seconds.
        pause: waits some seconds.

    Attributes:
        number: as given.
        restarts: how often it was started again.
        status: the exit status of its last life, None if it is to be started again.
    """

    def __init__(
        self,
        number: int,
        start: Callable[[int], Awaitable[Process]],
        backoff: Backoff,
        now: Callable[[], float],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.number = number
        self.restarts = 0
        self.status: int | None = None
        self._start = start
        self._backoff = backoff
        self._now = now
        self._pause = pause
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._finding = "not started"
        self._metrics = ""
        self._counts = ""

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None

    @property
    def metrics(self) -> tuple[str, str]:
        """The counts of its earlier lives, and the last known metrics of the present one."""
        return self._counts, self._metrics

    async def run(self) -> None:
        """Keep the child running until `stop`, or until its settings are wrong, which another start does not cure."""
        while not self._stopping.is_set():
            began = self._now()
            await self._live()
            if self._stopping.is_set() or self.status == WRONG_SETTINGS:
                return
            if self._now() - began >= STEADY_SECONDS:
                self._backoff.reset()
            seconds = self._backoff.next()
            log.error("process_ended", process=self.number, finding=self._finding, again_in=round(seconds, 3))
            self.status = None
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
                    return
            self.restarts += 1

    def stop(self) -> None:
        """Ask the child to stop, and do not start it again."""
        self._stopping.set()
        if self._process is not None:
            self._process.send(signal.SIGTERM)

    def kill(self) -> None:
        """End the child at once, and do not start it again."""
        self._stopping.set()
        if self._process is not None:
            self._process.send(signal.SIGKILL)

    async def say(self, name: PageName) -> Said:
        """Return what the child says of itself."""
        process = self._process
        page = None if process is None else await self._ask(process, name)
        return Said(self.number, None if process is None else process.pid, self.restarts, self._finding, page)

    async def _live(self) -> None:
        """Start the process, and wait for its end."""
        try:
            process = await self._start(self.number)
        except OSError as error:
            self._finding = f"it cannot be started: {describe(error)}"
            return
        self._process, self._finding = process, "starting"
        log.info("process_started", process=self.number, pid=process.pid)
        polling = asyncio.create_task(self._poll(process), name=f"poll-{self.number}")
        try:
            if self._stopping.is_set():
                process.send(signal.SIGTERM)
            self.status = await process.wait()
        finally:
            self._process = None
            self._counts, self._metrics = merged([self._counts, counts_of(self._metrics)]), ""
            await end_tasks([polling], seconds=_END_SECONDS)
        self._finding = ending_of(self.status)

    async def _poll(self, process: Process) -> None:
        """Read the child's counters again and again, and kill it if it does not answer for long."""
        silent = 0
        while silent < SILENT_POLLS:
            await self._pause(POLL_SECONDS)
            silent = silent + 1 if await self._ask(process, "metrics") is None else 0
        log.error("process_silent", process=self.number, pid=process.pid)
        process.send(signal.SIGKILL)

    async def _ask(self, process: Process, name: PageName) -> Page | None:
        page = await process.ask(name, ASK_SECONDS)
        # What comes after the end of the process is among `_counts` already.
        if page is not None and process is self._process:
            self._finding = "does not answer"  # what holds of it once it gives no page
            if name == "metrics" and page.status == OK:
                self._metrics = page.body
        return page


def ending_of(status: int) -> str:
    """Return how a process ended, from its exit status."""
    if status < 0:
        return f"ended by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"
