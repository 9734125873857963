"""The timers of one partition: publishes `sleep.timer.v1` for each tenant whose deadline has passed.

Only the owner of the partition publishes timers. A timer is never early by the clock of this machine. A second timer is
harmless: the fold applies a deadline at its own time. Timers that fall due one after the other go out together, and
those of all lanes at the same moments. After new rules every tenant gets a timer: see `RulesSweep`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from schemas.errors import describe
from worker.partition.published_timers import REPEAT_MS, Append, PublishedTimers, timer
from worker.partition.rules_sweep import RulesSweep
from worker.ports import Clock, Due, Output, OutputError, Outputs, Reader, Store, StoreError

# The loop reads progress at least this often. So it notices a Redis that lost data on an idle partition too.
_LONGEST_WAIT_SECONDS: Final = 1.0
_PAGE: Final = 2_000
# After timers were published, the next ones wait for the next multiple of this time. So all lanes look at the same
# moments, and their timers share requests: to Kafka, from it, and for the outputs. A look, a request and a commit for
# the timers of each millisecond would take a worker longer than the millisecond.
_GATHER_MS: Final = 25
_NEVER: Final = -1


class Owner(Protocol):
    """What the timers need of the lane."""

    position: int | None

    def reread_position(self) -> None:
        """Read the position again."""


class Timers:
    """The timer loop of one lane."""

    def __init__(
        self,
        partition: int,
        store: Store,
        outputs: Outputs,
        reader: Reader,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.partition = partition
        self._rules_sweep = RulesSweep(partition, store, outputs, clock, log)
        self._store = store
        self._outputs = outputs
        self._reader = reader
        self._clock = clock
        self._log = log
        self._published = PublishedTimers()
        self._next: int | None = None  # When to look at the latest, for a timer or a page of a sweep.
        self._again: int | None = None  # When a timer that is under way may have to be published again.
        self._latest = 0
        self._gathering_until = 0
        # All timers that were due by then have been looked at; those that are not folded yet are under way.
        self._looked = _NEVER
        self._woken = asyncio.Event()
        self._failing = False
        self._ended = False
        self._suspected: tuple[int, int] | None = None

    @property
    def swept(self) -> int:
        """The number of the newest rules after which every tenant has got a timer; each batch commits it."""
        return self._rules_sweep.swept

    def begin(self, swept: int, newest: int) -> None:
        """Go on from progress: the number of the rules that are swept, and of the newest rules.

        Timers that are published stay in the log when a lane starts again, so they are still under way.
        """
        self._rules_sweep.begin(swept, newest)
        self._looked = _NEVER
        self._woken.set()

    def sweep(self, number: int) -> None:
        """Send a timer to every tenant, because rules with this number are in force."""
        self._rules_sweep.newest = number
        self._woken.set()

    def folded(self, timers: Iterable[tuple[str, int]], armed: Mapping[str, int]) -> None:
        """Note the timers that were folded (tenant, log time in ms), and the deadlines that a commit has set."""
        now = self._clock.now()
        for tenant, at in timers:
            if (again_at := self._published.folded(tenant, at, now)) is not None and self._arm_again(again_at):
                self._woken.set()
        earliest = min(armed.values(), default=None)
        if earliest is not None:
            self._looked = min(self._looked, earliest - 1)
        if self._arm(earliest):
            self._woken.set()

    def _arm(self, moment: int | None) -> bool:
        """Wake at this moment, unless the loop wakes earlier; tell whether the moment is the earliest."""
        if moment is None or (self._next is not None and moment >= self._next):
            return False
        self._next = moment
        return True

    def _arm_again(self, moment: int) -> bool:
        """As `_arm`, for a timer that is under way."""
        self._again = moment if self._again is None else min(self._again, moment)
        return self._arm(moment)

    def end(self) -> None:
        """Make `run` return."""
        self._ended = True
        self._woken.set()

    async def run(self, owner: Owner) -> None:
        """Publish timers that are due, until ended."""
        while not self._ended:
            await self._wait(owner)
            try:
                if owner.position is not None and await self._publish_due(owner):
                    self._arm(await self._rules_sweep.send_page(owner))
                self._failing = False
            except (StoreError, OutputError) as error:
                if not self._failing:
                    self._log.warning("timers_waiting", reason=describe(error))
                self._failing = True
                self._rules_sweep.restart_scan()
                await self._clock.sleep(_LONGEST_WAIT_SECONDS)

    async def _wait(self, owner: Owner) -> None:
        """Wait for the earliest deadline, a wake-up, or a second."""
        wait = _LONGEST_WAIT_SECONDS
        # Without a position no timer can be published, however late it is.
        if self._next is not None and owner.position is not None:
            moment = max(self._next, self._gathering_until)
            wait = min(max((moment - self._clock.now()) / 1000, 0.0), wait)
        waits = [asyncio.ensure_future(self._clock.sleep(wait)), asyncio.ensure_future(self._woken.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        self._woken.clear()

    async def _publish_due(self, owner: Owner) -> bool:
        """Publish the timers that have fallen due; False if Redis is not at the lane's position."""
        now = self._clock.now()
        if now < self._latest:
            # The clock was set back: times that were taken from it are too far ahead.
            self._published.clear()
            self._looked = _NEVER
            self._rules_sweep.clock_set_back(now)
        self._latest = now
        self._next = None
        after, self._looked = self._looked, now
        if self._again is not None and self._again <= now:
            after, self._again = _NEVER, None
        done = False
        try:
            done = await self._publish_pages(owner, after, now)
        finally:
            if not done:
                self._looked = min(self._looked, after)
        return done

    async def _publish_pages(self, owner: Owner, after: int, now: int) -> bool:
        """Publish the timers that have fallen due after a time, page by page; see `_publish_due`."""
        skip = 0
        while True:
            position = owner.position
            due = await self._store.due(self.partition, after, now, skip, _PAGE)
            if not self._is_current(owner, position, due.position):
                return False
            if not due.complete:
                self._log.warning("timers_lost", position=position)
                owner.reread_position()
                return False
            await self._publish(due, now)
            if len(due.timers) < _PAGE:
                self._arm(due.later)
                return True
            skip += _PAGE

    async def _publish(self, due: Due, now: int) -> None:
        """Publish the timers of a page that are not under way, as one batch."""
        await self._find_in_log(due, now)
        append = Append(now + REPEAT_MS)
        outputs: list[Output] = []
        for tenant, at in due.timers:
            earlier = self._published.append_of(tenant)
            if earlier is not None and earlier.again_at > now:
                self._arm_again(earlier.again_at)
            else:
                self._published.add(tenant, at, append)
                outputs.append(timer(tenant, at))
        if outputs:
            self._arm_again(append.again_at)
            self._gathering_until = (now // _GATHER_MS + 1) * _GATHER_MS
            append.end = await self._outputs.send(self._outputs.topics.events, self.partition, outputs)

    async def _find_in_log(self, due: Due, now: int) -> None:
        """Give more time to timers of a page that the lane has not reached yet, if the log still holds them."""
        ahead = self._published.ahead(due, now)
        if ahead:
            log_end = await self._reader.end(self._outputs.topics.events, self.partition)
            for append, end in ahead:
                if end <= log_end:
                    append.again_at = now + REPEAT_MS

    def _is_current(self, owner: Owner, position: int | None, actual: int) -> bool:
        """Tell whether Redis is at the lane's position. If it is not twice in a row, the lane reads its position again.

        A single difference may come from a commit of this lane, whose answer is still under way.
        """
        if position is None or actual == position or owner.position != position:
            self._suspected = None
            return position is not None
        if self._suspected == (position, actual):
            self._log.warning("moved_elsewhere", position=position, actual=actual)
            self._suspected = None
            owner.reread_position()
            return False
        self._suspected = (position, actual)
        return actual > position
