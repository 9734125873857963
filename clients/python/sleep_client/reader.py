"""Knows how every tenant sleeps, for threads."""

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Condition, Event, Thread
from types import TracebackType
from typing import Final, Literal

from sleep_client.open_reader import Change, OpenReader
from sleep_client.reading.session import ReaderStatus, WhenStale
from sleep_client.reading.tenant_state import TenantState
from sleep_client.runtime.follower import Follower

_START_SECONDS: Final = 5.0
"""How long a thread may take to run its loop."""


class SleepReader(OpenReader):
    """Follows the states of all tenants, or of some, from a thread of its own.

        reader = SleepReader("https://sleep.example", token)
        reader.wait_ready(10)
        if reader.state("acme").state == "freeze": ...

    While the server is away, the forecast of each tenant is followed. So sleeps end on time with nobody to ask.

    After a fork, `state` raises `NotReady` in the child: open a reader in each process.

    Args:
        url: the address of the API, such as `https://sleep.example`.
        token: the bearer token, with the scope `sleep:read-any`; with `tenants`, one that may read each of them. Or a
            function that returns the token. It is called in a thread before each connection, and before a token ends.
        tenants: the tenants to follow, at most 200; None for all. To ask for another one raises `NotWatched`.
        initial: the answer for every tenant before the first states have come, which is marked as stale. Without it,
            `state` raises `NotReady` then.
        max_stale_seconds: how long the stream may be lost until the status is `ERROR`.
        when_stale: what counts in `ERROR`. With "hold" the forecasts go on. With "wake" every tenant is taken for
            awake, at the last default active set.
        on_change: called in the reader's thread after something has changed. It must be quick, and must not raise.

    Raises:
        ValueError: if an argument, or a variable that names certificates, cannot be used. No secret is in its text.
        RuntimeError: if the system starts no more threads.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        tenants: Iterable[str] | None = None,
        initial: TenantState | None = None,
        max_stale_seconds: float = 60.0,
        when_stale: WhenStale = "hold",
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        super().__init__(url, token, tenants, initial, max_stale_seconds, when_stale, on_change)
        self._told = Condition()
        self._thread = _FollowerThread(self._follower)
        self._thread.start()
        # A dropped reader ends its thread.
        self._finalizer = weakref.finalize(self, self._thread.stop)
        self._finalizer.atexit = False

    def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until all states are known.

        Raises:
            NotReady: if they are not within so many seconds; at once if the server refuses the reader. The text says
                why, and what to do.
        """
        deadline = time.monotonic() + timeout
        with self._told:
            while self.status not in (ReaderStatus.READY, ReaderStatus.ERROR):
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    break
                self._told.wait(left)
        if self.status is not ReaderStatus.READY:
            raise self._refusal(timeout)

    def close(self, timeout_seconds: float = 5.0) -> bool:
        """Close the stream and end the thread. `state` raises `NotReady` then, and later calls change nothing.

        Returns:
            Whether the thread has ended within so many seconds.
        """
        self._tenants.forget("the reader was closed")
        self._thread.stop()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def __enter__(self) -> "SleepReader":  # noqa: PYI034 - `Self` came with Python 3.11
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Close the reader."""
        self.close()
        return False

    def _tell_waiters(self) -> None:
        with self._told:
            self._told.notify_all()

    def _after_fork(self) -> None:
        self._finalizer.detach()
        self._told = Condition()
        super()._after_fork()


class _FollowerThread(Thread):
    """Runs a follower in an event loop of its own."""

    def __init__(self, follower: Follower) -> None:
        super().__init__(name="sleep-reader", daemon=True)
        self._follower = follower
        self._begun = Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self) -> None:
        asyncio.run(self._follow())

    async def _follow(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun.set()
        await self._follower.run()

    def stop(self) -> None:
        """Let the follower end; returns before it has ended."""
        if self.is_alive() and self._begun.wait(_START_SECONDS) and self._loop is not None:
            with suppress(RuntimeError):  # The loop is closed already.
                self._loop.call_soon_threadsafe(self._follower.stop)
