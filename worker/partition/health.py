"""Whether a lane works, and if it does not, why: outages that end by themselves, and errors that stop it for good."""

import random
from typing import Final

from structlog.typing import FilteringBoundLogger

from schemas.backoff import Backoff
from worker.ports import Clock

_STARTING: Final = "starting"


class LaneHealth:
    """What a lane reports of itself, and how long it waits before it tries again.

    An outage is logged once when it begins and once when it ends. The waits between tries double from 0.1 to 5 seconds.

    Attributes:
        problem: why the lane does not work, None while it works; at first that it is starting.
        stopped: whether the lane has stopped for good, so that a person must act.

    Args:
        clock: waits between tries.
        random_: the jitter of these waits.
        log: the lane's log.
    """

    def __init__(self, clock: Clock, random_: random.Random, log: FilteringBoundLogger) -> None:
        self.problem: str | None = _STARTING
        self.stopped = False
        self._clock = clock
        self._log = log
        self._backoff = Backoff(random_)
        # Where the last batch failed. A start from there proves nothing: only a batch that is committed there does.
        self._failed_at: int | None = None

    async def wait(self, reason: str, *, failed_at: int | None = None) -> None:
        """Note why the lane cannot go on, and wait before the next try.

        Args:
            reason: what happened.
            failed_at: the position of the batch that failed, None where none was under way.
        """
        if self.stopped:
            return  # A background task has failed meanwhile. Its reason stays.
        if failed_at is not None:
            self._failed_at = failed_at
        self.problem = reason
        if not self._backoff.failing:
            self._log.warning("waiting", reason=reason)
        await self._clock.sleep(self._backoff.next())

    def started(self, position: int) -> None:
        """Note that the lane starts at a position: an outage is over, unless a batch failed at that very position."""
        if position != self._failed_at:
            self.recovered(position)

    def recovered(self, position: int) -> None:
        """Note that a batch was committed up to a position: an outage is over."""
        if self.stopped:
            return
        if self._backoff.failing:
            self._log.info("recovered", position=position)
        self._backoff.reset()
        self.problem = self._failed_at = None

    def stop(self, reason: str) -> None:
        """Stop for good, with a reason that names the command which helps."""
        self.stopped, self.problem = True, reason
        self._log.error("lane_stopped", reason=reason)

    def fail(self, error: Exception) -> None:
        """Stop for good because of an error that nothing handles."""
        self.stopped, self.problem = True, f"the lane failed: {error!r}; see the log, then restart the worker"
        self._log.error("lane_failed", exc_info=error)
