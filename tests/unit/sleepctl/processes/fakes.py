"""Child processes that only do what a test says."""

import asyncio
import random
import signal

from prometheus_client import CONTENT_TYPE_LATEST

from schemas.backoff import Backoff
from schemas.http.pages import OK, Page, PageName, document
from sleepctl.processes.slot import Slot


class FakeProcess:
    """A process that runs until a test ends it, or until a signal does."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.signals: list[signal.Signals] = []
        self.status = "ok"
        self.ready = True
        self.count = 0
        self.answers = True
        self.obeys = True
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(self, status: int) -> None:
        """End with this exit status."""
        if not self._ended.done():
            self._ended.set_result(status)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def ask(self, name: PageName, _: float) -> Page | None:
        if not self.answers:
            return None
        if name == "metrics":
            return Page(OK, f"# TYPE events_total counter\nevents_total {self.count}\n", CONTENT_TYPE_LATEST)
        if name == "readyz":
            return document({"status": "-"}, good=self.ready)
        return document({"status": self.status}, good=self.status != "bad")

    def send(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.end(-number)
        elif self.obeys:
            self.end(0)


class Started:
    """Slots over fake processes, and what was started.

    Attributes:
        processes: in the order in which they were started, all slots together.
        waits: how long a wait between two polls was asked to be.
        now: the time in seconds.
    """

    def __init__(self, count: int) -> None:
        self.processes: list[FakeProcess] = []
        self.failures: list[OSError] = []
        self.waits: list[float] = []
        self.now = 0.0
        self.polls = 0
        self._poll = asyncio.Condition()
        self.slots = [
            Slot(number, self._start, Backoff(random.Random(1), 0.0), lambda: self.now, self._pause)
            for number in range(1, count + 1)
        ]

    async def _start(self, number: int) -> FakeProcess:
        if self.failures:
            raise self.failures.pop()
        self.processes.append(FakeProcess(1000 * number + len(self.processes)))
        return self.processes[-1]

    async def _pause(self, seconds: float) -> None:
        """Wait until a test lets the polls go on."""
        self.waits.append(seconds)
        async with self._poll:
            await self._poll.wait()

    async def poll(self) -> None:
        """Let each child be asked once."""
        async with self._poll:
            self._poll.notify_all()
        await settled()

    async def until(self, started: int) -> FakeProcess:
        """Wait for so many started processes, and return the last one."""
        async with asyncio.timeout(5):
            while len(self.processes) < started:
                await asyncio.sleep(0)
        await settled()
        return self.processes[-1]


async def settled() -> None:
    """Let all tasks do what they can."""
    for _ in range(20):
        await asyncio.sleep(0)
