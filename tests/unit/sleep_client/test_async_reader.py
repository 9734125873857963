"""The reader for asyncio behaves as the one for threads; what they share is tested there."""

import asyncio

import httpx
import pytest

from sleep_client import AsyncSleepReader, NotReady, ReaderStatus
from tests.support.states_server import (
    LIMIT_SECONDS,
    StatesServer,
    T,
    event,
    join_token_threads,
    ready,
    rules,
    snapshot,
    token,
)


@pytest.fixture
def server() -> StatesServer:
    """A server that streams states."""
    return StatesServer()


def reader_of(server: StatesServer) -> type[AsyncSleepReader]:
    """Return the class of readers of this server."""

    class Reader(AsyncSleepReader):
        _transport = staticmethod(server.transport)

    return Reader


async def until_status(reader: AsyncSleepReader, status: ReaderStatus) -> None:
    """Wait until a reader has a status."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while reader.status is not status:
            await asyncio.sleep(0)


async def test_three_lines(server: StatesServer) -> None:
    """Open, wait, ask; the end closes the stream and leaves no task."""
    before = asyncio.all_tasks()
    async with reader_of(server)("https://sleep.example", "secret-token") as reader:
        stream = await server.next_async()
        stream.send(snapshot("acme"))
        await reader.wait_ready(LIMIT_SECONDS)
        assert (reader.state("acme").state, reader.state("other").state) == ("freeze", "active")
        assert reader.status is ReaderStatus.READY
    assert stream.closed.is_set()
    assert asyncio.all_tasks() == before
    with pytest.raises(NotReady, match="closed"):
        reader.state("acme")


async def test_a_lost_stream_is_opened_again(server: StatesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the wait for READY works again."""
    monkeypatch.setattr("sleep_client.protocol.waits.after_failure", lambda *_: 0.0)
    async with reader_of(server)("https://sleep.example", "token") as reader:
        stream = await server.next_async()
        stream.send(snapshot("acme", id_="5"))
        await reader.wait_ready(LIMIT_SECONDS)
        stream.send(httpx.ReadError("reset"))
        await until_status(reader, ReaderStatus.STALE)
        assert (reader.state("acme").state, reader.state("acme").stale) == ("freeze", True)
        again = await server.next_async()
        assert again.last_id == "5"
        again.send(rules() + event("gone", {"tenant": "acme", "position": "0:90"}) + ready(id_="6"))
        await reader.wait_ready(LIMIT_SECONDS)
        assert reader.state("acme").state == "active"


async def test_the_function_of_the_token_may_be_a_coroutine_function(server: StatesServer) -> None:
    """It is awaited in the loop; a second stream takes over before its token ends."""
    given = iter([token(T / 1000 + 1.001, "first"), token(T / 1000 + 4_000, "second")])

    async def fetch() -> str:
        await asyncio.sleep(0)
        return next(given)

    async with reader_of(server)("https://sleep.example", fetch) as reader:
        first = await server.next_async()
        first.send(snapshot("acme"))
        await reader.wait_ready(LIMIT_SECONDS)
        second = await server.next_async()
        assert not first.closed.is_set()
        second.send(rules() + ready(T + 1_000, "8"))
        async with asyncio.timeout(LIMIT_SECONDS):
            while not first.closed.is_set():
                await asyncio.sleep(0)
        assert reader.status is ReaderStatus.READY
    join_token_threads()


async def test_a_refusal_ends_the_wait_at_once(server: StatesServer) -> None:
    """`wait_ready` starts a reader that was not started."""
    server.refuse(401, {"code": "unauthenticated"}, {"content-type": "application/problem+json"})
    reader = reader_of(server)("https://sleep.example", "token")
    with pytest.raises(NotReady, match="check the token"):
        await reader.wait_ready(LIMIT_SECONDS)
    await reader.close()
    await reader.close()
    with pytest.raises(RuntimeError, match="closed"):
        reader.start()


async def test_a_wait_has_an_end(server: StatesServer) -> None:
    """The text says why."""
    async with reader_of(server)("https://sleep.example", "token") as reader:
        with pytest.raises(NotReady, match=r"within 0.01 s"):
            await reader.wait_ready(0.01)


async def test_a_reader_that_was_never_started_closes() -> None:
    """Without a loop of its own."""
    reader = AsyncSleepReader("https://sleep.example", "token")
    await reader.close()
    assert reader.status is ReaderStatus.NOT_READY
