"""Knows how every tenant sleeps, for asyncio."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Literal

from sleep_client.open_reader import Change, OpenReader
from sleep_client.reading.session import ReaderStatus, WhenStale
from sleep_client.reading.tenant_state import TenantState
from sleep_client.runtime.tokens import TokenFunction


class AsyncSleepReader(OpenReader):
    """Follows the states of all tenants, or of some, in a task of the running event loop.

        async with AsyncSleepReader("https://sleep.example", token) as reader:
            await reader.wait_ready(10)
            if reader.state("acme").state == "freeze": ...

    It takes the arguments of `SleepReader` and behaves alike. The function of the token may be a coroutine function.
    `on_change` is called in the loop. `state` may be called from any thread.

    Raises:
        ValueError: as for `SleepReader`.
    """

    def __init__(
        self,
        url: str,
        token: str | TokenFunction,
        tenants: Iterable[str] | None = None,
        initial: TenantState | None = None,
        max_stale_seconds: float = 60.0,
        when_stale: WhenStale = "hold",
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        super().__init__(url, token, tenants, initial, max_stale_seconds, when_stale, on_change)
        self._told: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Start the task, unless it was started. A context manager and `wait_ready` do that.

        Raises:
            RuntimeError: if no event loop runs, or the reader was closed.
        """
        if self._closed:
            raise RuntimeError("the reader was closed; open another one")
        if self._task is None:
            self._told = asyncio.Event()
            self._task = asyncio.get_running_loop().create_task(self._follower.run())

    async def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until all states are known.

        Raises:
            NotReady: as in `SleepReader`.
        """
        self.start()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._settled(), timeout)
        if self.status is not ReaderStatus.READY:
            raise self._refusal(timeout)

    async def _settled(self) -> None:
        while self._told is not None and self.status not in (ReaderStatus.READY, ReaderStatus.ERROR):
            self._told.clear()
            await self._told.wait()

    async def close(self) -> None:
        """Close the stream and end the task. `state` raises `NotReady` then, and later calls change nothing."""
        self._closed = True
        self._tenants.forget("the reader was closed")
        self._follower.stop()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def __aenter__(self) -> "AsyncSleepReader":  # noqa: PYI034 - `Self` came with Python 3.11
        """Start the reader, and return it."""
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """Close the reader."""
        await self.close()
        return False

    def _tell_waiters(self) -> None:
        if self._told is not None:
            self._told.set()
