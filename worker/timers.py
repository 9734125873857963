"""The timers of one partition: publishes `sleep.timer.v1` for each tenant whose time has come.

The owner alone publishes. A timer is never early by this machine's clock, and firing twice is harmless: the
fold settles what fell due at its own time. After new rules every tenant of the partition gets a timer, paced,
so that a change reaches those who sleep.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from structlog.typing import FilteringBoundLogger

from schemas.cloudevents import STRUCTURED_HEADERS, encode
from schemas.errors import describe
from schemas.events import TIMER
from worker.ports import Clock, Commit, Output, OutputError, Outputs, Store, StoreError

_SOURCE: Final = "urn:somabrain-sleep:worker"
# The loop reads progress at least this often, so that a rolled-back Redis is noticed on an idle partition too.
_LONGEST_WAIT_SECONDS: Final = 1.0
_PAGE: Final = 2_000
# A timer that was published and not folded is published again after this long.
_REPEAT_MS: Final = 5_000
# Tenants to whom a sweep after new rules sends timers in one go, and the pause between: about 10,000 a second.
_SWEEP_PAGE: Final = 500
_SWEEP_PAUSE_MS: Final = 50
_WALKS: Final = 2


class Owner(Protocol):
    """The lane, as its timers see it."""

    position: int | None

    def look_again(self) -> None:
        """Read the position again."""


class _Published(NamedTuple):
    """A timer that was published and not yet folded: when it was due, and when to publish it again."""

    due: int
    again_at: int


@dataclass(slots=True)
class _Sweep:
    """Who has been told of the rules with this number, and when the next page may be.

    A cursor means nothing to a Redis that was started anew or failed over since, and nobody need notice that between
    two pages. So the tenants are walked through twice, and once more from the start after anything that failed; what
    was told lies in the log and is not said again.
    """

    number: int
    told: set[str] = field(default_factory=set)
    cursor: int = 0
    walks: int = 0
    again_at: int = 0


class Timers:
    """The timer loop of one lane.

    Attributes:
        swept: the number of the rules of which every tenant has been told; committed at once, and with each batch.
    """

    def __init__(self, partition: int, store: Store, outputs: Outputs, clock: Clock, log: FilteringBoundLogger) -> None:
        self.partition = partition
        self.swept = 0
        self._newest = 0
        self._store = store
        self._outputs = outputs
        self._clock = clock
        self._log = log
        self._published: dict[str, _Published] = {}
        self._sweep: _Sweep | None = None
        self._next: int | None = None
        self._latest = 0
        self._woken = asyncio.Event()
        self._failing = False
        self._ended = False
        self._suspected: tuple[int, int] | None = None

    def begin(self, swept: int, newest: int) -> None:
        """Go on from what progress says: the rules that tenants were told of, and the newest.

        What was published lies in the log, however often the lane begins: it has its five seconds to be folded.
        """
        self.swept, self._newest = swept, newest
        self._walk_anew()
        self._woken.set()

    def sweep(self, number: int) -> None:
        """Send a timer to every tenant, since rules of this number have come."""
        self._newest = number
        self._woken.set()

    def folded(self, timers: Iterable[tuple[str, int]], armed: Mapping[str, int]) -> None:
        """Note the timers that the log has folded (tenant, log time in ms), and the times that a commit armed."""
        now = self._clock.now()
        for tenant, at in timers:
            published = self._published.pop(tenant, None)
            if published is not None and at < published.due:
                # The log's clock is behind ours, and what is missing there must pass here first; or this is one of
                # before, and ours is still to come.
                again_at = min(published.again_at, now + published.due - at)
                self._published[tenant] = _Published(published.due, again_at)
                if self._arm(again_at):
                    self._woken.set()
        if self._arm(min(armed.values(), default=None)):
            self._woken.set()

    def _arm(self, moment: int | None) -> bool:
        """Look again at this moment, if nothing earlier is due; tell whether it is the earliest."""
        if moment is None or (self._next is not None and moment >= self._next):
            return False
        self._next = moment
        return True

    def end(self) -> None:
        """Make `run` return."""
        self._ended = True
        self._woken.set()

    async def run(self, owner: Owner) -> None:
        """Publish what falls due, until ended."""
        while not self._ended:
            await self._wait(owner)
            try:
                if owner.position is not None and await self._publish_due(owner) and self.swept < self._newest:
                    await self._sweep_page(owner)
                self._failing = False
            except (StoreError, OutputError) as error:
                if not self._failing:
                    self._log.warning("timers_waiting", reason=describe(error))
                self._failing = True
                self._walk_anew()
                await self._clock.sleep(_LONGEST_WAIT_SECONDS)

    async def _wait(self, owner: Owner) -> None:
        """Wait for the earliest deadline, a wake-up, or a second."""
        wait = _LONGEST_WAIT_SECONDS
        # Without a position nothing can be done about a deadline, however late it is.
        if self._next is not None and owner.position is not None:
            wait = min(max((self._next - self._clock.now()) / 1000, 0.0), wait)
        waits = [asyncio.ensure_future(self._clock.sleep(wait)), asyncio.ensure_future(self._woken.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for either in waits:
                either.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        self._woken.clear()

    async def _publish_due(self, owner: Owner) -> bool:
        """Publish what is due, page by page; False where Redis does not stand where the lane does."""
        now = self._clock.now()
        if now < self._latest:
            # The clock was set back: what was noted by it would wait for as long as it went back.
            self._published.clear()
            if self._sweep is not None:
                self._sweep.again_at = now
        self._latest = now
        self._next = None
        skip = 0
        while True:
            position = owner.position
            due = await self._store.due(self.partition, now, skip, _PAGE)
            if not self._stands(owner, position, due.position):
                return False
            if not due.whole:
                self._log.warning("timers_lost", position=position)
                owner.look_again()
                return False
            outputs = [output for tenant, at in due.timers if (output := self._timer(tenant, at, now)) is not None]
            await self._outputs.send(self._outputs.topics.events, self.partition, outputs)
            if len(due.timers) < _PAGE:
                self._arm(due.later)
                return True
            skip += _PAGE

    def _stands(self, owner: Owner, position: int | None, found: int) -> bool:
        """Tell whether Redis stands where the lane does; wake the lane where it twice did not.

        Once may be a commit of our own, whose answer is still on its way.
        """
        if position is None or found == position or owner.position != position:
            self._suspected = None
            return position is not None
        if self._suspected == (position, found):
            self._log.warning("moved_elsewhere", position=position, found=found)
            self._suspected = None
            owner.look_again()
            return False
        self._suspected = (position, found)
        return found > position

    def _timer(self, tenant: str, due: int, now: int) -> Output | None:
        """Return the timer to publish, or None where it must wait; then note for when."""
        published = self._published.get(tenant)
        if published is not None and published.again_at > now:
            self._arm(published.again_at)
            return None
        self._published[tenant] = _Published(due, now + _REPEAT_MS)
        self._arm(now + _REPEAT_MS)
        return _output(tenant, due)

    def _walk_anew(self) -> None:
        if self._sweep is not None:
            self._sweep = _Sweep(self._sweep.number, self._sweep.told)

    async def _sweep_page(self, owner: Owner) -> None:
        """Send the next tenants of the partition a timer, so that they are folded under the newest rules."""
        sweep = self._sweep
        if sweep is None or sweep.number != self._newest:
            sweep = self._sweep = _Sweep(self._newest)
        now = self._clock.now()
        if now < sweep.again_at:
            self._arm(sweep.again_at)
            return
        cursor, page = await self._store.scan(self.partition, sweep.cursor, _SWEEP_PAGE)
        untold = {tenant.decode() for tenant in page} - sweep.told
        outputs = [_output(tenant, now) for tenant in sorted(untold)]
        await self._outputs.send(self._outputs.topics.events, self.partition, outputs)
        sweep.told |= untold
        if self._sweep is not sweep:
            return
        sweep.cursor = cursor
        sweep.walks += not cursor
        sweep.again_at = self._clock.now() + _SWEEP_PAUSE_MS
        self._arm(sweep.again_at)
        if sweep.walks == _WALKS:
            before, self.swept = self.swept, sweep.number
            if owner.position is not None:
                # An idle partition may have no next batch; where this is refused there is one.
                commit = Commit.of_progress(owner.position, {"swept": self.swept})
                try:
                    await self._store.commit(self.partition, commit)
                except StoreError:
                    self.swept = before
                    raise
            self._log.info("rules_announced", number=sweep.number, tenants=len(sweep.told))
            self._sweep = None


def _output(tenant: str, due: int) -> Output:
    event = encode(
        type_=TIMER,
        id_=f"timer:{tenant}:{due}",
        source=_SOURCE,
        subject=tenant,
        time=None,
        data={"due_at": due},
    )
    return Output(tenant.encode(), event, STRUCTURED_HEADERS)
