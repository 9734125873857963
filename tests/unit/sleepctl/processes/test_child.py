"""A process that serves as one of several."""

import asyncio
import os
import signal
import socket
from contextlib import suppress

import pytest

from schemas.http.pages import Page, PageName
from schemas.http.server import Member
from sleepctl.processes.channel import Channel
from sleepctl.processes.child import Place, serve_in


async def _own(name: PageName) -> Page:
    return Page(200, f"own {name}")


async def _of_all(name: PageName) -> Page:
    return Page(200, f"all {name}")


async def _asked(channel: Channel, name: PageName) -> Page:
    """Return a page of the other end, once it has begun."""
    while (page := await channel.ask(name, 1)) is None:
        await asyncio.sleep(0)
    return page


@pytest.fixture(autouse=True)
def relaxed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would hold for the whole process: the calls that set the collector."""
    calls: list[str] = []
    for name in ("freeze", "set_threshold"):
        monkeypatch.setattr(f"gc.{name}", lambda *_, name=name: calls.append(name))
    return calls


def test_a_child_serves_with_its_parent_s_socket_and_pages() -> None:
    """It answers for itself, and shows what its parent says of all."""
    ours, theirs = socket.socketpair()
    listener, other = socket.socketpair()
    inode = os.fstat(listener.fileno()).st_ino
    seen: list[object] = []

    async def serve(_: asyncio.Event, member: Member | None) -> None:
        assert member is not None
        parent = await Channel.open(ours, _of_all)
        running = asyncio.create_task(parent.run())
        of_all = member.pages_of_all(_own)
        seen.append(os.fstat(member.listener.fileno()).st_ino)
        seen.append((await _asked(parent, "status")).body)
        seen.append((await of_all("metrics")).body)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        seen.append(await of_all("metrics"))
        member.listener.close()

    with other:
        serve_in(Place(1, listener.detach(), theirs.detach()), serve)
    unanswered = Page(503, '{"status":"bad","finding":"the parent process does not answer"}')
    assert seen == [inode, "own status", "all metrics", unanswered]


def test_a_process_that_is_the_only_one_is_no_member(relaxed: list[str]) -> None:
    """And its second signal counts. Python's collector leaves what is loaded alone, so that no request waits for it."""
    members: list[Member | None] = []

    async def serve(stop: asyncio.Event, member: Member | None) -> None:
        members.append(member)
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()

    serve_in(None, serve)
    assert members == [None]
    assert relaxed == ["freeze", "set_threshold"]
