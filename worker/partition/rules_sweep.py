"""After new rules every tenant of a partition gets a timer, at a limited rate, so that they also reach idle tenants."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from schemas.redis.progress import ProgressUpdate
from worker.partition.published_timers import timer
from worker.ports import Clock, Commit, Outputs, Store, StoreError

# How many tenants get a timer at once, and the pause between: about 10,000 tenants a second.
_PAGE: Final = 500
_PAUSE_MS: Final = 50
_SCANS: Final = 2


class Owner(Protocol):
    """What a sweep needs of the lane."""

    position: int | None


@dataclass(slots=True)
class _Sweep:
    """The progress of a sweep.

    A restart or a failover of Redis makes a scan cursor meaningless, and between two pages nothing shows it. So a sweep
    scans all tenants twice, and starts the scan again after an error. A tenant that has got its timer gets no other.

    Attributes:
        number: the number of the rules.
        notified: tenants that have got a timer.
        cursor: where the scan goes on.
        scans: how often the scan has reached the end.
        again_at: when the next page may be sent, ms.
    """

    number: int
    notified: set[str] = field(default_factory=set)
    cursor: int = 0
    scans: int = 0
    again_at: int = 0


class RulesSweep:
    """The sweeps of one partition.

    Attributes:
        swept: the number of the newest rules after which every tenant has got a timer. It is committed at the end of a
            sweep, and with each batch.
        newest: the number of the newest rules.
    """

    def __init__(self, partition: int, store: Store, outputs: Outputs, clock: Clock, log: FilteringBoundLogger) -> None:
        self.swept = 0
        self.newest = 0
        self._partition = partition
        self._store = store
        self._outputs = outputs
        self._clock = clock
        self._log = log
        self._sweep: _Sweep | None = None

    def begin(self, swept: int, newest: int) -> None:
        """Go on from progress: the number of the rules that are swept, and of the newest rules."""
        self.swept, self.newest = swept, newest
        self.restart_scan()

    def restart_scan(self) -> None:
        """Scan all tenants again, after an error."""
        if self._sweep is not None:
            self._sweep = _Sweep(self._sweep.number, self._sweep.notified)

    def clock_set_back(self, now: int) -> None:
        """Send the next page at `now`, ms: its time is too far ahead."""
        if self._sweep is not None:
            self._sweep.again_at = now

    async def send_page(self, owner: Owner) -> int | None:
        """Send a timer to the next tenants, if it is time for it, so that they are folded under the newest rules.

        Return when the next page may be sent, ms; None if nothing is to be announced.

        Raises:
            OutputError: if Kafka does not acknowledge.
            StoreError: if the store does not answer.
        """
        if self.swept >= self.newest:
            return None
        sweep = self._sweep
        if sweep is None or sweep.number != self.newest:
            sweep = self._sweep = _Sweep(self.newest)
        now = self._clock.now()
        if now < sweep.again_at:
            return sweep.again_at
        cursor, page = await self._store.scan(self._partition, sweep.cursor, _PAGE)
        missing = {tenant.decode() for tenant in page} - sweep.notified
        outputs = [timer(tenant, now) for tenant in sorted(missing)]
        await self._outputs.send(self._outputs.topics.events, self._partition, outputs)
        sweep.notified |= missing
        if self._sweep is not sweep:
            return None  # The lane has begun again meanwhile, which wakes the loop.
        sweep.cursor = cursor
        sweep.scans += not cursor
        sweep.again_at = self._clock.now() + _PAUSE_MS
        if sweep.scans == _SCANS:
            await self._finish(sweep, owner.position)
        return sweep.again_at

    async def _finish(self, sweep: _Sweep, position: int | None) -> None:
        """Commit that all tenants of the partition have got a timer."""
        before, self.swept = self.swept, sweep.number
        if position is not None:
            # An idle partition may have no next batch. If this commit is refused, there is a next batch.
            try:
                await self._store.commit(self._partition, Commit(position, ProgressUpdate(swept=self.swept)))
            except StoreError:
                self.swept = before
                raise
        self._log.info("rules_announced", number=sweep.number, tenants=len(sweep.notified))
        self._sweep = None
