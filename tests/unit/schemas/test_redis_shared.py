"""One connection to Redis for all calls: each gets its own answer, also where calls are cut off or it breaks."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hiredis import Reader
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from schemas.redis import shared
from schemas.redis.shared import SharedRedis
from schemas.running_timeout import STEPS


class FakeConnection(Connection):
    """Notes what is sent, and answers when the test says so."""

    def __init__(self, failure: Exception | None, *, hangs: bool) -> None:
        super().__init__()
        self.sent: list[list[bytes]] = []
        self.closed = False
        self.breaks: Exception | None = None
        self._failure = failure
        self._hangs = hangs
        self._asked = Reader()
        self._protocol: asyncio.Protocol | None = None

    def answer(self, *answers: object) -> None:
        """Let the server answer, or with an OSError break the connection."""
        assert self._protocol is not None
        for one in answers:
            if isinstance(one, OSError):
                self._protocol.connection_lost(one)
            else:
                self._protocol.data_received(_as_sent(one))

    def say(self, data: bytes) -> None:
        """Let the server send these bytes."""
        assert self._protocol is not None
        self._protocol.data_received(data)

    async def connect(self) -> None:
        await asyncio.sleep(0)
        if self._hangs:
            await asyncio.Event().wait()
        if self._failure is not None:
            raise self._failure
        transport = SimpleNamespace(write=self._take, set_protocol=self._give_to)
        self._writer = cast("asyncio.StreamWriter", SimpleNamespace(transport=transport))

    def _give_to(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def _take(self, command: bytes) -> None:
        if self.breaks is not None:
            raise self.breaks
        self._asked.feed(command)
        while (sent := self._asked.gets()) is not False:
            self.sent.append(sent)

    async def disconnect(self, nowait: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - as redis-py has it
        self.closed = True
        self._writer = None


_CODES: dict[type[Exception], str] = {NoScriptError: "NOSCRIPT", BusyLoadingError: "LOADING"}


def _as_sent(answer: object) -> bytes:
    """Return an answer as the server sends it."""
    match answer:
        case None:
            return b"$-1\r\n"
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(answer), answer)
        case list():
            return b"*%d\r\n" % len(answer) + b"".join(map(_as_sent, answer))
        case Exception():
            return f"-{_CODES.get(type(answer), 'ERR')} {answer}\r\n".encode()
        case _:
            raise AssertionError(answer)


class FakePool(ConnectionPool):
    """Makes connections: first those that fail, then good ones."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[FakeConnection] = []
        self.failures: list[Exception] = []
        self.hangs = False

    def make_connection(self) -> FakeConnection:
        self.made.append(FakeConnection(self.failures.pop(0) if self.failures else None, hangs=self.hangs))
        return self.made[-1]


class Server:
    """A client, and the connections that it makes."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the client's own
        self.pool = FakePool()
        self.client = SharedRedis(connection_pool=self.pool, **options)

    @property
    def connection(self) -> FakeConnection:
        """The newest connection."""
        return self.pool.made[-1]

    async def calls(self, *names: str) -> list["asyncio.Task[Any]"]:
        """Read these keys at once, and return when all are sent, or have failed."""
        tasks = [asyncio.create_task(self.client.execute_command("GET", name)) for name in names]
        await settle()
        return tasks


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that answers what the test says."""
    made = Server()
    yield made
    await made.client.aclose()
    assert all(connection.closed for connection in made.pool.made)


async def test_calls_at_once_share_a_connection_and_get_their_own_answers(server: Server) -> None:
    """In the order in which they were sent."""
    calls = await server.calls("a", "b", "c")
    assert server.connection.sent == [[b"GET", b"a"], [b"GET", b"b"], [b"GET", b"c"]]
    server.connection.answer(b"1", None, b"3")
    assert await asyncio.gather(*calls) == [b"1", None, b"3"]
    assert len(server.pool.made) == 1


async def test_answers_are_what_redis_py_makes_of_them(server: Server) -> None:
    """And names of two words are two words."""
    reading = asyncio.create_task(server.client.execute_command("HGETALL", "h", keys=["h"]))
    await settle()
    server.connection.answer([b"a", b"1"])
    assert await reading == {b"a": b"1"}
    loading = asyncio.create_task(server.client.execute_command("SCRIPT LOAD", "return 1"))
    await settle()
    server.connection.answer(b"digest")
    assert await loading == "digest"
    assert server.connection.sent[1] == [b"SCRIPT", b"LOAD", b"return 1"]


async def test_an_error_of_the_server_is_told_to_its_own_call(server: Server) -> None:
    """Others get their answers, on the same connection."""
    calls = await server.calls("a", "b")
    server.connection.answer(NoScriptError("no script"), b"2")
    first, second = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, NoScriptError)
    assert (second, len(server.pool.made)) == (b"2", 1)


async def test_commands_of_a_pipeline_are_sent_together(server: Server) -> None:
    """Its first error is raised, once all have been answered."""
    pipeline = server.client.pipeline(transaction=False)
    pipeline.execute_command("HGET", "h", "f")
    pipeline.execute_command("HMGET", "h", "f", b"\xff")
    running = asyncio.create_task(pipeline.execute())
    await settle()
    assert server.connection.sent == [[b"HGET", b"h", b"f"], [b"HMGET", b"h", b"f", b"\xff"]]
    server.connection.answer(b"1", [b"1", None])
    assert await running == [b"1", [b"1", None]]
    pipeline.execute_command("HGET", "h", "f")
    pipeline.execute_command("HGET", "h", "g")
    call = asyncio.create_task(pipeline.execute())
    await settle()
    server.connection.answer(ResponseError("wrong"), b"2")
    with pytest.raises(ResponseError, match="wrong"):
        await call
    [after] = await server.calls("a")
    server.connection.answer(b"3")
    assert await after == b"3", "nothing is left for it to read"


async def test_there_are_no_transactions(server: Server) -> None:
    """Other calls would come between."""
    with pytest.raises(NotImplementedError):
        server.client.pipeline(transaction=True)


async def test_a_call_that_was_cut_off_leaves_its_answer_to_nobody(server: Server) -> None:
    """A call that waits beside it gets its own; later calls get a new connection."""
    cut_off, beside = await server.calls("a", "b")
    cut_off.cancel()
    [later] = await server.calls("c")
    old, new = server.pool.made
    assert (old.closed, new.sent) == (False, [[b"GET", b"c"]])
    old.answer(b"1", b"2")
    new.answer(b"3")
    assert [await beside, await later] == [b"2", b"3"]
    await settle()
    assert (old.closed, new.closed) == (True, False)


async def test_a_connection_on_which_nobody_waits_any_more_is_closed(server: Server) -> None:
    """The server may hang, and would never close it."""
    calls = await server.calls("a", "b")
    for call in calls:
        call.cancel()
    await settle()
    assert server.connection.closed


async def test_a_call_on_a_connection_that_breaks_is_sent_once_more(server: Server) -> None:
    """A server that was restarted has closed it."""
    calls = await server.calls("a", "b")
    server.connection.answer(OSError("closed"))
    await settle()
    assert len(server.pool.made) == 2, "both share the new connection"
    server.connection.answer(b"1", b"2")
    assert await asyncio.gather(*calls) == [b"1", b"2"]


async def test_a_client_that_resends_nothing_says_that_the_connection_broke() -> None:
    """Its caller knows best whether the call may be carried out twice."""
    server = Server(resends=False)
    [call] = await server.calls("a")
    server.connection.answer(OSError("closed"))
    with pytest.raises(RedisConnectionError, match="closed"):
        await call
    assert len(server.pool.made) == 1
    [after] = await server.calls("a")
    server.connection.answer(b"1")
    assert await after == b"1"
    await server.client.aclose()


async def test_an_answer_that_does_not_come_in_time_fails_its_call_alone() -> None:
    """Later calls get a new connection, since the server may hang."""
    server = Server(seconds=0.05)
    [call] = await server.calls("a")
    with pytest.raises(TimeoutError):
        await call
    [after] = await server.calls("b")
    server.connection.answer(b"2")
    assert await after == b"2"
    assert len(server.pool.made) == 2
    await server.client.aclose()


async def test_each_call_has_as_many_steps_of_the_loop_as_a_timeout_has() -> None:
    """One timer counts them for all calls, and a loop that stands still makes one step of it."""
    server = Server(seconds=3_600)
    [older] = await server.calls("a")
    link = server.client._link  # noqa: SLF001 - the test takes the place of the timer
    assert link is not None
    link._pass()  # noqa: SLF001 - as above
    [newer] = await server.calls("b")
    for _ in range(STEPS):
        await settle()
        assert not older.done()
        link._pass()  # noqa: SLF001 - as above
    with pytest.raises(TimeoutError):
        await older
    server.connection.answer(b"1", b"2")
    assert await newer == b"2"
    link._pass()  # noqa: SLF001 - as above
    assert link._timer is None, "nobody waits"  # noqa: SLF001 - as above
    await server.client.aclose()


async def test_an_answer_that_comes_in_pieces_is_taken_whole(server: Server) -> None:
    """As the network likes; the end of one may come with the beginning of the next."""
    first, second = await server.calls("a", "b")
    for piece in (b"$1", b"1\r\nhello ", b"world\r\n*2\r\n$1\r\n1", b"\r\n$-1\r\n"):
        server.connection.say(piece)
    assert await first == b"hello world"
    assert await second == [b"1", None]


async def test_a_call_whose_connection_breaks_twice_fails(server: Server) -> None:
    """With what the second one said; the next call tries again."""
    [call] = await server.calls("a")
    server.connection.answer(OSError("closed"))
    await settle()
    server.connection.answer(BusyLoadingError("loading"))
    with pytest.raises(BusyLoadingError, match="loading"):
        await call
    [after] = await server.calls("a")
    server.connection.answer(b"1")
    assert await after == b"1"


async def test_what_is_no_answer_breaks_the_connection(server: Server) -> None:
    """No call waits for an answer that nobody can read."""
    [call] = await server.calls("a")
    server.connection.say(b"HTTP/1.1 400 Bad Request\r\n")
    await settle()
    server.connection.say(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(RedisConnectionError, match="ProtocolError"):
        await call


@pytest.mark.parametrize("error", [OSError("broken pipe"), RuntimeError("the handler is closed")])
async def test_a_connection_that_takes_no_bytes_breaks_for_all(server: Server, error: Exception) -> None:
    """Those that wait get a new one, and nothing is sent to the old one any more."""
    [waiting] = await server.calls("a")
    server.connection.breaks = error
    [refused] = await server.calls("b")
    old, new = server.pool.made
    assert old.closed
    assert sorted(new.sent) == [[b"GET", b"a"], [b"GET", b"b"]]
    new.answer(*(name for _, name in new.sent))
    assert [await waiting, await refused] == [b"a", b"b"]


async def test_a_call_that_waits_for_a_connection_while_the_client_closes_is_told(server: Server) -> None:
    """It was not cancelled itself."""
    server.pool.hangs = True
    [waiting] = await server.calls("a")
    await server.client.aclose()
    with pytest.raises(RedisConnectionError, match="closed"):
        await waiting


async def test_what_follows_a_broken_answer_goes_to_no_call(server: Server) -> None:
    """The answer that broke the connection belongs to a call, so the next one would go to the wrong call."""
    first, second = await server.calls("a", "b")
    old = server.connection
    old.answer(BusyLoadingError("loading"), b"of-b")
    await settle()
    assert server.connection is not old
    server.connection.answer(*(name for _, name in server.connection.sent))
    assert [await first, await second] == [b"a", b"b"]


async def test_nothing_is_asked_without_commands(server: Server) -> None:
    """Such a call would take the answers of those behind it."""
    assert await server.client.ask([]) == []
    assert server.pool.made == []


async def test_an_answer_that_nobody_asked_for_breaks_the_connection(server: Server) -> None:
    """Else each later call would get the answer of the one before."""
    [call] = await server.calls("a")
    server.connection.answer(b"1", b"unasked")
    assert await call == b"1"
    await settle()
    assert server.connection.closed
    [after] = await server.calls("b")
    server.connection.answer(b"2")
    assert await after == b"2"


async def test_a_server_that_cannot_be_reached_fails_every_call_that_waits(server: Server) -> None:
    """They share the attempt, and what is refused twice is told."""
    server.pool.failures = [RedisConnectionError("refused"), RedisConnectionError("refused")]
    calls = await server.calls("a", "b")
    assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == [RedisConnectionError] * 2
    assert len(server.pool.made) == 2
    [after] = await server.calls("c")
    server.connection.answer(b"3")
    assert await after == b"3"


async def test_a_connection_that_is_not_accepted_in_time_fails(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is cut off meanwhile does not end the attempt of others."""
    monkeypatch.setattr(shared, "CONNECT_SECONDS", 0.05)
    server.pool.hangs = True
    cut_off, waiting = await server.calls("a", "b")
    cut_off.cancel()
    with pytest.raises(TimeoutError):
        await waiting
    assert len(server.pool.made) == 1


async def test_a_closed_client_sends_nothing_more() -> None:
    """Calls that wait fail, and do not connect again."""
    server = Server()
    [call] = await server.calls("a")
    await server.client.aclose()
    with pytest.raises(RedisConnectionError, match="closed"):
        await call
    with pytest.raises(RedisConnectionError, match="closed"):
        await server.client.get("b")
    assert len(server.pool.made) == 1
