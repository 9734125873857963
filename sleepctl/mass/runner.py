"""Sends the commands of a run to all targets without an answer, many at a time, and writes each answer down."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from schemas.clock import Clock, now_ms
from sleepctl.io.tenant_pages import Calls
from sleepctl.mass.commands import MassCommand, StoppedRunError
from sleepctl.mass.patient_api import NoAnswerError
from sleepctl.mass.run_file import RunFile
from sleepctl.ui.errors import CommandError

AT_ONCE: Final = 64
"""How many targets are sent to at the same time. A command takes some tens of milliseconds."""
MARKED: Final = 512
"""How many targets one mark covers. A mark takes a write to the disk."""
LOOK_UP_AFTER_MS: Final = 55 * 60_000
"""After this time the outcome is looked up first. The log remembers a command for an hour."""
PASSES: Final = 2
"""How often a target without an answer is sent to, in one call of the command line."""
MOST_SILENT: Final = 16
"""After so many targets in a row to which the API gave no answer, the run stops."""
MOST_REFUSED: Final = 20
"""If so many targets, the first of this call, are all refused, the run stops: all would be."""
LAST_ANSWERS_SECONDS: Final = 1.0
"""How long an interrupted run waits for answers on their way. The process is ended 5 s after Ctrl-C."""


class Runner:
    """Sends the commands of one run.

    Args:
        file: the run.
        command: what is sent to each target.
        api: sends the requests.
        clock: a time in milliseconds since the epoch.
        advance: called after each target that was sent to.
    """

    def __init__(
        self,
        file: RunFile,
        command: MassCommand,
        api: Calls,
        clock: Clock = now_ms,
        advance: Callable[[], object] = lambda: None,
    ) -> None:
        self._file = file
        self._command = command
        self._api = api
        self._clock = clock
        self._advance = advance
        self._todo: Iterator[int] = iter(())
        self._first_pass = True
        self._silent = 0
        self._done = self._refused = 0
        self._failure: CommandError | None = None

    async def run(self) -> None:
        """Send to all targets without an answer. Those that get none are sent to once more at the end.

        A cancelled run sends to no further target, and waits a little for the answers on their way.

        Raises:
            CommandError: if the run cannot go on. Continuing sends only to targets without an answer.
        """
        for number in range(PASSES):
            self._first_pass = number == 0
            self._todo = iter(list(self._file.unanswered()))
            workers = [asyncio.ensure_future(self._work()) for _ in range(AT_ONCE)]
            try:
                await asyncio.wait(workers)
            except asyncio.CancelledError:
                self._todo = iter(())
                await asyncio.wait(workers, timeout=LAST_ANSWERS_SECONDS)
                raise
            finally:
                for worker in workers:
                    worker.cancel()
                ended = await asyncio.gather(*workers, return_exceptions=True)
            for defect in ended:
                if isinstance(defect, Exception):
                    raise defect
            if self._failure is not None:
                raise self._failure

    async def _work(self) -> None:
        try:
            # `_stop` replaces the iterator, so each step asks for it.
            while (index := next(self._todo, None)) is not None:
                await self._send(index)
        except CommandError as error:
            self._stop(error)

    async def _send(self, index: int) -> None:
        sent_at = self._file.sent_at(index)
        now = self._clock()
        if sent_at is None:
            self._file.mark(min(index + MARKED, len(self._file)), now)
        # A mark of the future is from another clock, so its age is not known.
        old = sent_at is not None and not 0 <= now - sent_at < LOOK_UP_AFTER_MS
        try:
            result = await self._command.send(self._api, self._file.head, self._file.target(index), old=old)
        except NoAnswerError as error:
            self._silent += 1
            if self._silent >= MOST_SILENT:
                self._stop(StoppedRunError(f"the API gives no answer: {error}"))
            return
        finally:
            if self._first_pass:
                self._advance()
        self._silent = 0
        if result is None:
            return
        self._file.answer(index, result)
        if result.done:
            self._done += 1
            return
        self._refused += 1
        if not self._done and self._refused >= MOST_REFUSED:
            tenant = self._file.target(index).tenant
            self._stop(
                StoppedRunError(
                    f"the first {self._refused} tenants were all refused, the last one ({tenant}) with {result.code}: "
                    f"{result.detail}"
                )
            )

    def _stop(self, failure: CommandError) -> None:
        """Send to no further target. The first failure counts."""
        self._todo = iter(())
        self._failure = self._failure or failure
