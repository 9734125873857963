"""Unit tests open no socket and leave nothing behind."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import NoReturn

import pytest


def _refuse(*_: object) -> NoReturn:
    raise AssertionError("a unit test opens no socket")


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    """Refuse to connect, bind or resolve; the event loop's own pair of sockets needs none of these."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("bind", "connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _refuse)
        patch.setattr(socket, "getaddrinfo", _refuse)
        yield


@pytest.fixture
async def _no_tasks_left() -> AsyncIterator[None]:
    """Fail where a test leaves a task running."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left running: {left}"


def _threads() -> set[threading.Thread]:
    """All threads but those of an event loop's own pool, which end with the loop."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where a test leaves a task, a thread or a changed environment behind."""
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("_no_tasks_left")
    threads, environment = _threads(), _environment()
    yield
    left = _threads() - threads
    assert not left, f"threads left running: {left}"
    assert _environment() == environment, "the environment was changed"


def _environment() -> dict[str, str]:
    """All variables but the one in which pytest names the running test."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
