"""What a process sets up before it serves."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette

from api.serve import FILES, raise_file_limit
from schemas.http.server import ServerConfig
from tests.support.fakes import settle


def test_the_limit_of_open_files_is_raised_as_far_as_may_be() -> None:
    """A thousand streams of one tenant must leave files for Redis."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (wanted, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_system_that_allows_no_more_is_no_reason_not_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS, whose own bound is below its hard limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))

    def refuse(_: int, limits: tuple[int, int]) -> None:
        assert limits == (FILES, resource.RLIM_INFINITY)
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_file_limit()


@pytest.mark.parametrize("moment", ["start", "service"])
async def test_a_lifespan_that_is_cancelled_logs_no_traceback(caplog: pytest.LogCaptureFixture, moment: str) -> None:
    """A second Ctrl-C cancels whatever runs."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if moment == "start":
            await asyncio.Event().wait()
        yield

    with caplog.at_level(logging.WARNING):
        before = asyncio.all_tasks()
        config = ServerConfig(Starlette(lifespan=lifespan), lifespan="on", log_config=None)
        config.load()
        starting = asyncio.create_task(config.lifespan_class(config).startup())
        await settle()
        [lifespan_task] = asyncio.all_tasks() - before - {starting}
        lifespan_task.cancel()
        await starting
        await asyncio.wait([lifespan_task])
    assert caplog.messages == (["Application startup failed. Exiting."] if moment == "start" else [])


async def test_a_lifespan_that_fails_logs_why(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody else would."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        raise ValueError("no such thing")
        yield  # type: ignore[unreachable]  # what makes it a context

    config = ServerConfig(Starlette(lifespan=lifespan), lifespan="on", log_config=None)
    config.load()
    await config.lifespan_class(config).startup()
    assert "ValueError: no such thing" in caplog.text
