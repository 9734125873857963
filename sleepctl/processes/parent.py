"""The parent of several processes of one command: one address, one set of pages, one stop."""

import asyncio
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from schemas.backoff import Backoff
from schemas.http.pages import Page, PageName
from schemas.metrics.parent import BY_COMMAND
from schemas.tasks import end_tasks
from sleepctl.processes import pages
from sleepctl.processes.metrics import text_of
from sleepctl.processes.slot import Process, Slot
from sleepctl.processes.started import StartedProcess
from sleepctl.runtime.event_loop import STOP_SECONDS, supervise_until_stopped
from sleepctl.ui.errors import WRONG_SETTINGS, CommandError

KILL_SECONDS: Final = STOP_SECONDS + 2
"""How long children may take to stop. They end themselves after `STOP_SECONDS`, unless they are stopped or blocked."""
FRESH_SECONDS: Final = 0.1
"""How old a page may be: children are asked at most ten times a second, whoever asks for pages."""
_FAILED: Final = 1
_ENDED_WELL: Final = (None, 0, -signal.SIGTERM)
"""Exit statuses after a stop. A child that has not begun to serve has no handler of SIGTERM yet."""

log = structlog.get_logger(__name__)


class Parent:
    """Keeps the children of one command running, and makes the pages about all of them.

    Args:
        command: `api` or `worker`.
        slots: the children.
        now: monotonic, in seconds.
    """

    def __init__(self, command: str, slots: Sequence[Slot], now: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._now = now
        self._gathering: dict[PageName, tuple[float, asyncio.Task[Page]]] = {}
        self._command = command

    async def run(self, stop: asyncio.Event, close: Callable[[], object]) -> int:
        """Run the children until `stop`, and return the exit status of the command.

        Args:
            stop: set to stop all children. A cancel kills them.
            close: closes the parent's own copy of the listener, once children begin to stop. Callers would otherwise
                connect to an address where nobody accepts.
        """
        running = [asyncio.create_task(slot.run(), name=f"process-{slot.number}") for slot in self._slots]
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
            close()
            for slot in self._slots:
                slot.stop()
            _, late = await asyncio.wait(running, timeout=KILL_SECONDS)
            if late:
                log.error("processes_not_ended", seconds=KILL_SECONDS, tasks=sorted(task.get_name() for task in late))
        finally:
            for slot in self._slots:
                slot.kill()
            await asyncio.wait(running)
            await end_tasks([stopped, *(task for _, task in self._gathering.values())], seconds=1)
        for task in running:
            task.result()
        return exit_status([slot.status for slot in self._slots])

    async def page(self, name: PageName) -> Page:
        """Return a page about all children. Those who ask at the same time share one."""
        began, gathering = self._gathering.get(name, (float("-inf"), None))
        if gathering is None or (gathering.done() and self._now() - began >= FRESH_SECONDS):
            gathering = asyncio.create_task(self._gather(name), name=f"gather-{name}")
            self._gathering[name] = self._now(), gathering
        return await asyncio.shield(gathering)

    async def _gather(self, name: PageName) -> Page:
        said = await asyncio.gather(*(slot.say(name) for slot in self._slots))
        if name == "status":
            return pages.status(said)
        if name == "readyz":
            return pages.readyz(said)
        return pages.metrics([text_of(self._metrics()), *(text for slot in self._slots for text in slot.metrics)])

    def _metrics(self) -> Iterator[Metric]:
        metrics = BY_COMMAND[self._command]
        labels = metrics.processes.label_names
        processes = GaugeMetricFamily(metrics.processes.name, metrics.processes.meaning, labels=labels)
        running = sum(slot.running for slot in self._slots)
        processes.add_metric(["running"], running)
        processes.add_metric(["ended"], len(self._slots) - running)
        yield processes
        labels = metrics.restarts.label_names
        restarts = CounterMetricFamily(metrics.restarts.name, metrics.restarts.meaning, labels=labels)
        for slot in self._slots:
            restarts.add_metric([str(slot.number)], slot.restarts)
        yield restarts


def exit_status(statuses: Sequence[int | None]) -> int:
    """Return the exit status of the command, from those of its children."""
    if WRONG_SETTINGS in statuses:
        return WRONG_SETTINGS
    return 0 if all(status in _ENDED_WELL for status in statuses) else _FAILED


def supervise(command: str, count: int, listener: socket.socket) -> None:
    """Run several processes of a command on one socket until it is stopped.

    Args:
        command: `api` or `worker`.
        count: how many.
        listener: where they accept connections; closed at the end.

    Raises:
        CommandError: if a process did not end well, with the exit status.
    """
    chance = random.SystemRandom()

    async def main(stop: asyncio.Event) -> int:
        async def start(number: int) -> Process:
            return await StartedProcess.start(command, number, listener, parent.page)

        slots = [Slot(number, start, Backoff(chance), time.monotonic) for number in range(1, count + 1)]
        parent = Parent(command, slots)
        return await parent.run(stop, listener.close)

    with listener:
        status = supervise_until_stopped(main)
    if status:
        raise CommandError(f"a process of {command} did not end well; its own lines say why", status)
