"""A child process, as its parent starts it and speaks with it."""

import asyncio
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, Self

from schemas.http.pages import Page, PageName, Pages
from schemas.tasks import end_tasks
from sleepctl.processes.channel import Channel
from sleepctl.processes.child import Place

_END_SECONDS: Final = 1.0


class StartedProcess:
    """A process that was started, with a channel to it."""

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self._answering = asyncio.create_task(channel.run(), name=f"channel-{process.pid}")

    @classmethod
    async def start(cls, command: str, number: int, listener: socket.socket, pages: Pages) -> Self:
        """Start a fresh process of a command. It inherits two sockets and no state.

        Args:
            command: `api` or `worker`.
            number: the number of the process.
            listener: where it accepts connections.
            pages: answers it.

        Raises:
            OSError: if it cannot be started.
        """
        parent_end, child_end = socket.socketpair()
        with child_end:
            place = Place(number, listener.fileno(), child_end.fileno())
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # loads no module of the working directory
                    *("-m", "sleepctl", command, "--child", str(place)),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(place.listener, place.channel),
                    # Ctrl-C of a terminal reaches the parent alone.
                    start_new_session=True,
                )
            except BaseException:
                parent_end.close()
                raise
        return cls(process, await Channel.open(parent_end, pages))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end, and return its exit status: below 0 the number of a signal."""
        try:
            return await self._process.wait()
        finally:
            await end_tasks([self._answering], seconds=_END_SECONDS)

    async def ask(self, name: PageName, seconds: float) -> Page | None:
        """Return a page of it, None if it does not answer in time."""
        return await self._channel.ask(name, seconds)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
