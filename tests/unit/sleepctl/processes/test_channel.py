"""What a parent and a child say to each other."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from schemas.http.pages import Page, PageName
from sleepctl.processes.channel import Channel
from sleepctl.processes.child import Place, end_with_parent, take_place


class Ends(NamedTuple):
    """Both ends of a channel, and the tasks that run them."""

    parent: Channel
    child: Channel
    tasks: "list[asyncio.Task[None]]"


async def _of_all(name: PageName) -> Page:
    return Page(200, f"all: {name}")


async def _own(name: PageName) -> Page:
    return Page(503, f"own: {name}" + "ü" * 100_000, "text/plain")


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """A channel on which both have begun."""
    ours, theirs = socket.socketpair()
    parent, child = await Channel.open(ours, _of_all), await Channel.open(theirs)
    tasks = [asyncio.create_task(end.run()) for end in (parent, child)]
    while await parent.ask("readyz", 0.01) is None or await child.ask("readyz", 0.01) is None:
        await asyncio.sleep(0)
    yield Ends(parent, child, tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


async def test_each_end_asks_the_other_even_while_it_answers(ends: Ends) -> None:
    """To answer a child, its parent asks this child too."""

    async def asking_back(name: PageName) -> Page:
        page = await ends.parent.ask(name, 5)
        assert page is not None
        return page._replace(status=200)

    ends.child.pages, ends.parent.pages = _own, asking_back
    assert await ends.child.ask("status", 5) == (await _own("status"))._replace(status=200)


async def test_a_child_that_does_not_serve_yet_says_so(ends: Ends) -> None:
    """It answers, so it is not taken for one that hangs."""
    page = await ends.parent.ask("status", 5)
    assert page == Page(503, '{"status":"bad","finding":"starting"}')


async def test_nobody_waits_for_a_process_that_loads_its_modules() -> None:
    """It has said nothing yet."""
    ours, theirs = socket.socketpair()
    with theirs:
        parent = await Channel.open(ours, _of_all)
        running = asyncio.create_task(parent.run())
        assert await parent.ask("status", 3600) is None
    await running


async def test_an_answer_that_does_not_come_in_time_is_none(ends: Ends) -> None:
    """And when it comes later, nobody takes it for another one."""
    release = asyncio.Event()

    async def late(name: PageName) -> Page:
        if name == "status":
            await release.wait()
        return await _of_all(name)

    ends.child.pages = late
    assert await ends.parent.ask("status", 0) is None
    release.set()
    assert await ends.parent.ask("metrics", 5) == await _of_all("metrics")


async def test_a_page_that_fails_is_logged_and_not_answered(ends: Ends) -> None:
    """Later ones are."""

    async def failing(name: PageName) -> Page:
        if name == "status":
            raise ZeroDivisionError
        return await _of_all(name)

    ends.child.pages = failing
    with capture_logs() as logs:
        assert await ends.parent.ask("status", 0.01) is None
    assert [(line["event"], line["page"]) for line in logs] == [("page_failed", "status")]
    assert await ends.parent.ask("metrics", 5) == await _of_all("metrics")


async def test_the_end_of_one_end_is_the_answer_of_the_other(ends: Ends) -> None:
    """Whoever waits for it waits no longer."""

    async def never(_: PageName) -> Page:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    ends.child.pages = never
    asking = asyncio.create_task(ends.parent.ask("status", 3600))
    await asyncio.sleep(0)
    ends.tasks[1].cancel()
    assert await asking is None
    await ends.tasks[0]
    assert await ends.parent.ask("status", 3600) is None


def test_a_place_is_read_as_it_was_written() -> None:
    """As the value of an option."""
    assert Place.parse(str(Place(2, 7, 9))) == Place(2, 7, 9)
    assert take_place(None) is None


def test_a_child_stops_when_its_parent_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the parent said nothing, and the child's event loop does not run."""
    sent: list[tuple[int, signal.Signals]] = []
    told = threading.Event()

    def kill(pid: int, number: signal.Signals) -> None:
        sent.append((pid, number))
        told.set()

    monkeypatch.setattr(os, "kill", kill)
    ours, theirs = socket.socketpair()
    before = set(threading.enumerate())
    with theirs:
        end_with_parent(theirs.fileno())
        [watching] = set(threading.enumerate()) - before
        ours.sendall(b"a message is no end")
        assert not told.wait(0.05)
        ours.close()
        assert told.wait(5)
    watching.join()
    assert sent == [(os.getpid(), signal.SIGTERM)]
