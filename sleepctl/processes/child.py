"""A process that a parent has started: it serves with the parent's socket, and ends with the parent."""

import asyncio
import os
import select
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Self

from schemas.http.pages import Page, PageName, Pages, document
from schemas.http.server import Member
from schemas.tasks import end_tasks
from sleepctl.processes.channel import Channel
from sleepctl.runtime.collector import relax_collector
from sleepctl.runtime.event_loop import serve_until_stopped

ASK_SECONDS: Final = 3.0
"""How long a child waits for a page about all processes. Its parent waits `slot.ASK_SECONDS` for each child."""
_END_SECONDS: Final = 2.0


class Place(NamedTuple):
    """What a parent gives a child: its number, from 1 on, and two file descriptors."""

    number: int
    listener: int
    channel: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the place that `str` wrote."""
        return cls(*map(int, text.split(":")))

    def __str__(self) -> str:
        """Return the value of the option `--child`."""
        return ":".join(map(str, self))


def end_with_parent(channel: int) -> None:
    """Send this process SIGTERM once its parent has ended. A thread does it, so that a blocked loop does not matter."""
    # The channel is closed before the end of the process, and its number may be taken by another file.
    copy = os.dup(channel)
    hang_up = select.poll()
    hang_up.register(copy, 0)  # for no event: a hang-up is always reported

    def watch() -> None:
        hang_up.poll()
        os.close(copy)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def take_place(given: str | None) -> Place | None:
    """Return the place of this process among several, and let it end with its parent; None if it is the only one.

    Args:
        given: the value of the option `--child`.
    """
    if given is None:
        return None
    place = Place.parse(given)
    end_with_parent(place.channel)
    return place


def serve_in(place: Place | None, serve: Callable[[asyncio.Event, Member | None], Awaitable[None]]) -> None:
    """Serve until the process is stopped, alone or as one of several.

    Of a process among several only the first signal counts: its parent passes a signal on, and systemd, say, sends one
    to each process itself. The parent kills it if need be.

    Args:
        place: from `take_place`.
        serve: serves until its event is set.

    Raises:
        CommandError: after a second signal, if it is the only process.
    """
    relax_collector()
    if place is None:
        serve_until_stopped(lambda stop: serve(stop, None))
        return

    async def main(stop: asyncio.Event) -> None:
        channel = await Channel.open(socket.socket(fileno=place.channel))
        answering = asyncio.create_task(channel.run(), name="channel")
        try:
            await serve(stop, Member(socket.socket(fileno=place.listener), lambda own: _join(channel, own)))
        finally:
            await end_tasks([answering], seconds=_END_SECONDS)

    serve_until_stopped(main, once=True)


def _join(channel: Channel, own: Pages) -> Pages:
    """Answer the parent with a process's own pages, and return those about all processes, which the parent makes."""
    channel.pages = own

    async def of_all(name: PageName) -> Page:
        page = await channel.ask(name, ASK_SECONDS)
        return page or document({"status": "bad", "finding": "the parent process does not answer"}, good=False)

    return of_all
