"""A dependency that tests can take away and give back, whichever way it runs."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

READY_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.05


class Kind(StrEnum):
    """A way of getting services, best first."""

    CONTAINERS = "containers"
    PROCESSES = "processes"
    EMBEDDED = "embedded"


class ServiceError(Exception):
    """A service did not do what it was told; the text names it and shows the end of its log."""


class UnavailableError(Exception):
    """The machine cannot give services in the wanted way; the text says what is missing."""


class Service(ABC):
    """One running dependency with a fixed address.

    All methods block and are safe to call from a thread (`await asyncio.to_thread(service.kill)`).
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._paused = False

    @abstractmethod
    def launch(self) -> None:
        """Begin to start it; `wait_ready` finishes that, so that several can start at the same time."""

    @abstractmethod
    def running(self) -> bool:
        """Whether its process or container exists (a paused one does)."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves a request at this moment (at most about a second)."""

    @abstractmethod
    def log_tail(self) -> str:
        """The last lines that it wrote, for error texts."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end, as an operator does, and wait until it has."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash does."""

    @abstractmethod
    def _freeze(self, *, frozen: bool) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """End it for good and remove its data."""

    def pause(self) -> None:
        """Let it hang: connections are still accepted by the kernel, nothing answers."""
        self._freeze(frozen=True)
        self._paused = True

    def resume(self) -> None:
        """End a pause."""
        self._freeze(frozen=False)
        self._paused = False

    def start(self) -> None:
        """Start it at the same address with the data that it had, and wait until it answers.

        Raises ServiceError when it does not within a minute.
        """
        self.launch()
        self.wait_ready()

    def wait_ready(self, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Wait until it answers; raises ServiceError when it ends or stays silent."""
        deadline = time.monotonic() + timeout_seconds
        while not self.answers():
            if not self.running():
                raise ServiceError(f"{self.name} ended while starting:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} is silent after {timeout_seconds:g} s:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def heal(self) -> None:
        """Undo what a fault test left behind; does nothing when all is well."""
        if self._paused:
            self.resume()
        if not self.running():
            self.start()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stopped within the block, started again after it."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Killed before the block, started again after it."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hanging within the block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()
