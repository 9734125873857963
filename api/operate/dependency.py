"""What the API depends on: whether each answers, and how a lost one is tried again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog

from schemas import errors

FIRST_RETRY_SECONDS: Final = 0.2
LONGEST_RETRY_SECONDS: Final = 5.0
_MOST_DOUBLINGS: Final = 10

Pause = Callable[[float], Awaitable[None]]
log = structlog.get_logger(__name__)


class UnavailableError(Exception):
    """A dependency does not answer, or not with sense; nothing was published."""

    def __init__(self, dependency: str, finding: str) -> None:
        super().__init__(f"{dependency}: {finding}")
        self.dependency = dependency
        self.finding = finding


class Dependency:
    """One dependency's last finding. A change of it is logged once; repeats are not.

    Attributes:
        name: as `/status` and the metrics show it.
        up: whether it answered when last asked.
        finding: what was found, for people.
        tried: set once the first attempt ended, either way.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = False
        self.finding = "not yet tried"
        self.tried = asyncio.Event()

    def found_up(self, finding: str = "answers") -> None:
        """Note that it answers."""
        changed, self.up, self.finding = not self.up, True, finding
        self.tried.set()
        if changed:
            log.info("dependency_up", dependency=self.name, finding=finding)

    def found_down(self, finding: str) -> None:
        """Note that it does not answer, and why."""
        changed, self.up, self.finding = self.up or not self.tried.is_set(), False, finding
        self.tried.set()
        if changed:
            log.warning("dependency_down", dependency=self.name, finding=finding)

    def require(self) -> None:
        """Go on only if it answered when last asked.

        Raises:
            UnavailableError: with the last finding.
        """
        if not self.up:
            raise UnavailableError(self.name, self.finding)


def describe(error: BaseException) -> str:
    """Return an error as one line; of a dependency that is away, what was found."""
    return error.finding if isinstance(error, UnavailableError) else errors.describe(error)


def retry_seconds(attempt: int, chance: float) -> float:
    """Return how long to wait before attempt number `attempt` (from 1): doubling, capped, half of it jitter.

    Args:
        attempt: how many attempts in a row have failed.
        chance: a random number from 0 to 1.
    """
    longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
    return longest * (0.5 + chance / 2)


async def keep(
    dependency: Dependency,
    connect: Callable[[], Awaitable[NoReturn]],
    lost: tuple[type[Exception], ...],
    pause: Pause = asyncio.sleep,
) -> NoReturn:
    """Hold a connection for as long as the process lives; run it as a task and cancel that to end.

    Args:
        dependency: told of each loss.
        connect: connects, says `found_up`, serves the connection, and raises when it is lost.
        lost: the errors that a loss looks like. Any other is a defect, logged as such.
        pause: sleeps that many seconds.
    """
    failed = 0
    while True:
        try:
            await connect()
        except lost as error:
            failed = 1 if dependency.up else failed + 1
            dependency.found_down(describe(error))
        except Exception as error:
            failed = 1 if dependency.up else failed + 1
            log.exception("dependency_task_failed", dependency=dependency.name)
            dependency.found_down(describe(error))
        await pause(retry_seconds(failed, random.random()))  # noqa: S311 - jitter, not a secret
