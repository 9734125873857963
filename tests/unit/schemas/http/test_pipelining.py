"""One connection holds a few requests, whatever is sent on it, and gets its answers in order."""

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.http.connection import READ_BYTES, Connection
from schemas.http.paced import WRITE_SECONDS
from schemas.http.protocol import BoundedHttp
from tests.unit.schemas.http.wire import Wire, connect, send, settle

MOST_WAITING = 2
HEAD = len(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
"""Bytes of the head of an answer: who takes no more leaves the body."""


class App:
    """An application that answers when it is told to, and knows which requests it saw."""

    def __init__(self, *, reads: bool = False) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.answered = asyncio.Event()
        self._reads = reads

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
        self.paths.append(scope["path"])
        body, more = b"", self._reads
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await self.answered.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def _get(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number


def _held(protocol: BoundedHttp) -> int:
    return len(protocol.pipeline)


async def _end(protocol: BoundedHttp) -> None:
    protocol.connection_lost(None)
    for task in protocol.tasks:
        task.cancel()
    await asyncio.gather(*protocol.tasks, return_exceptions=True)


@pytest.mark.parametrize("size", [1, 7, 27, 28, 1_000, 1 << 20])
async def test_a_flood_of_requests_waits_unparsed_and_reading_waits_with_it(size: int) -> None:
    """Whatever the pieces are that it comes in, and though the application asks for more of its own request."""
    app, wire = App(reads=True), Wire()
    protocol, _ = connect(wire, app)
    flood = b"".join(map(_get, range(200)))
    fed = 0
    while fed < len(flood) and not wire.paused:
        protocol.data_received(flood[fed : fed + size])
        fed += size
        await settle()
        assert _held(protocol) <= MOST_WAITING
    assert (app.paths, wire.paused) == (["/0"], True)
    app.answered.set()
    while fed < len(flood):
        await settle()
        protocol.data_received(flood[fed : fed + size])
        fed += size
        assert _held(protocol) <= MOST_WAITING
    for _ in range(200):
        await settle()
    assert app.paths == [f"/{number}" for number in range(200)]
    assert (wire.written.count(b"HTTP/1.1 200"), wire.paused, wire.closed) == (200, False, False)
    await _end(protocol)


async def test_an_unread_answer_keeps_the_next_from_being_built() -> None:
    """Behind it nothing is served, and what is sent then is neither parsed nor read."""
    app, wire = App(), Wire()
    app.answered.set()
    protocol, _ = connect(wire, app)
    wire.room = HEAD
    await send(protocol, [_get(0), _get(1), _get(2) * 100])
    assert (app.paths, _held(protocol), wire.paused) == (["/0"], 1, True)
    wire.take(room=HEAD)
    await settle()
    assert app.paths == ["/0", "/1"], "one answer for one that was read"
    wire.take()
    for _ in range(20):
        await settle()
    assert (app.paths, wire.paused) == (["/0", "/1", *["/2"] * 100], False)
    await _end(protocol)


async def test_an_unread_answer_is_cut_off_in_time_although_a_client_reads_a_little() -> None:
    """The time goes from the first byte that was left, until all are taken."""
    app, wire = App(), Wire()
    app.answered.set()
    protocol, loop = connect(wire, app)
    wire.room = HEAD
    await send(protocol, [_get(0)])
    protocol.pause_writing()
    assert [timer.seconds for timer in loop.timers].count(WRITE_SECONDS) == 1
    loop.expire(WRITE_SECONDS)
    assert wire.aborted
    await _end(protocol)


async def test_what_waits_goes_with_its_connection() -> None:
    """Nobody is there for the answers."""
    app, wire = App(), Wire()
    protocol, _ = connect(wire, app)
    await send(protocol, [_get(0) * 50])
    await _end(protocol)
    app.answered.set()
    await settle()
    assert app.paths == ["/0"]


async def test_garbage_that_waited_is_refused_in_its_turn() -> None:
    """The requests before it get their answers."""
    app, wire = App(), Wire()
    protocol, _ = connect(wire, app)
    await send(protocol, [_get(0) + _get(1) + b"\x00garbage\r\n\r\n" + _get(2)])
    assert (app.paths, wire.written) == (["/0"], b"")
    app.answered.set()
    for _ in range(5):
        await settle()
    assert app.paths == ["/0", "/1"]
    assert wire.written.startswith(b"HTTP/1.1 200")
    assert wire.closed
    await _end(protocol)


@given(
    bodies=st.lists(st.tuples(st.binary(max_size=12), st.booleans()), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 800), max_size=12),
)
def test_bodies_and_requests_arrive_whole_and_in_order_however_they_are_cut(
    bodies: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    """Bodies that hold empty lines among them, with a length or in chunks."""
    stream = b""
    sent = [(body.replace(b"\x00", b"\r\n\r\n"), chunked) for body, chunked in bodies]
    for body, chunked in sent:
        stream += b"POST / HTTP/1.1\r\nHost: a\r\n"
        if chunked:
            stream += b"Transfer-Encoding: chunked\r\n\r\n"
            stream += b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            stream += b"0\r\nX: y\r\n\r\n"
        else:
            stream += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})

    async def run() -> None:
        app, wire = App(reads=True), Wire()
        app.answered.set()
        protocol, _ = connect(wire, app)
        for begin, end in itertools.pairwise(places):
            protocol.data_received(stream[begin:end])
            assert _held(protocol) <= MOST_WAITING
            await settle()
        for _ in bodies:
            await settle()
        assert app.bodies == [body for body, _ in sent]
        assert not wire.closed
        await _end(protocol)

    asyncio.run(run())


async def test_a_connection_reads_little_at_once() -> None:
    """Event loops read up to 256 KiB, which would wait unparsed."""
    received: list[bytes] = []

    class Http:
        def data_received(self, data: bytes) -> None:
            received.append(data)

    connection = Connection(lambda **_: Http())  # type: ignore[arg-type]
    for data in (b"abc", b"", b"d" * READ_BYTES):
        buffer = connection.get_buffer(-1)
        assert len(buffer) == READ_BYTES
        buffer[: len(data)] = data
        connection.buffer_updated(len(data))
    assert received == [b"abc", b"", b"d" * READ_BYTES]
