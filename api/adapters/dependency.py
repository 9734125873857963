"""The services that the API depends on: whether each answers, and how a lost connection is retried."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog

from api.errors.base import ApiError
from schemas import errors
from schemas.backoff import Backoff

_FIRST_RETRY_SECONDS: Final = 0.2

Pause = Callable[[float], Awaitable[None]]
log = structlog.get_logger(__name__)


class UnavailableError(ApiError):
    """A dependency is unavailable, or its answer is invalid. Nothing was published.

    Args:
        dependency: its name.
        finding: the reason, for the log and `/status`.
        detail: the reason for callers, without a secret; None where the dependency does not answer.
    """

    def __init__(self, dependency: str, finding: str, detail: str | None = None) -> None:
        super().__init__(f"{dependency}: {finding}")
        self.dependency = dependency
        self.finding = finding
        self.detail = detail


class Dependency:
    """The state of one dependency. Each change is logged once.

    Attributes:
        name: as `/status` and the metrics show it.
        up: whether it answered at the last attempt.
        finding: the result of the last attempt, for people.
        tried: set once the first attempt has succeeded or failed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = False
        self.finding = "not yet tried"
        self.tried = asyncio.Event()

    def mark_up(self, finding: str = "answers") -> None:
        """Record a success."""
        changed, self.up, self.finding = not self.up, True, finding
        self.tried.set()
        if changed:
            log.info("dependency_up", dependency=self.name, finding=finding)

    def mark_down(self, finding: str) -> None:
        """Record a failure and its reason."""
        changed, self.up, self.finding = self.up or not self.tried.is_set(), False, finding
        self.tried.set()
        if changed:
            log.warning("dependency_down", dependency=self.name, finding=finding)

    def require(self) -> None:
        """Require that it answered at the last attempt.

        Raises:
            UnavailableError: if it did not, with the last finding.
        """
        if not self.up:
            raise UnavailableError(self.name, self.finding)


def describe(error: BaseException) -> str:
    """Return an error as one line; for an unavailable dependency, its finding."""
    return error.finding if isinstance(error, UnavailableError) else errors.describe(error)


async def keep(
    dependency: Dependency,
    connect: Callable[[], Awaitable[NoReturn]],
    lost: tuple[type[Exception], ...],
    pause: Pause = asyncio.sleep,
) -> NoReturn:
    """Keep a connection for as long as the process lives. Run this as a task, and cancel the task to end it.

    Args:
        dependency: is marked down at each loss.
        connect: connects, calls `mark_up`, serves the connection, and raises when it is lost.
        lost: the errors of a lost connection. Any other error is a defect, and is logged with its traceback.
        pause: sleeps that many seconds.
    """
    backoff = Backoff(random.SystemRandom(), _FIRST_RETRY_SECONDS)
    while True:
        try:
            await connect()
        except Exception as error:
            if not isinstance(error, lost):
                log.exception("dependency_task_failed", dependency=dependency.name)
            if dependency.up:
                backoff.reset()
            dependency.mark_down(describe(error))
        await pause(backoff.next())
