"""What stands before the application: bytes that are no HTTP, heads without end."""

import asyncio
import json
from typing import Any

import pytest

from schemas.http.paced import WRITE_SECONDS
from schemas.http.protocol import HEAD_BYTES, BoundedHttp
from tests.unit.schemas.http.wire import Loop, Wire, connect

GOOD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def _hello(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


async def _reading(_scope: Any, receive: Any, _send: Any) -> None:  # noqa: ANN401 - an ASGI application
    while (await receive())["type"] == "http.request":
        pass


@pytest.fixture
def wire() -> Wire:
    """The other end."""
    return Wire()


def _connect(wire: Wire, app: Any = _hello) -> tuple[BoundedHttp, Loop]:  # noqa: ANN401 - an ASGI application
    return connect(wire, app)


def _problem(wire: Wire) -> tuple[int, dict[str, Any], bytes]:
    head, _, body = wire.written.partition(b"\r\n\r\n")
    document: dict[str, Any] = json.loads(body)
    assert f"content-length: {len(body)}\r\n".encode() in head
    return int(head.split()[1]), document, head


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nx y\r\n\r\n"]
)
async def test_what_is_no_http_gets_a_problem_and_the_door_shut(wire: Wire, garbage: bytes) -> None:
    """TLS on a plain port, a torn request line, a broken header."""
    protocol, _ = _connect(wire)
    protocol.data_received(garbage)
    status, document, head = _problem(wire)
    assert (status, document["code"], wire.closed) == (400, "malformed_request", True)
    assert document["instance"].removeprefix("urn:uuid:").encode() in head
    assert b"application/problem+json" in head


async def test_a_head_without_end_is_cut_off(wire: Wire) -> None:
    """A megabyte of headers, in small pieces."""
    protocol, _ = _connect(wire)
    protocol.data_received(b"GET / HTTP/1.1\r\n")
    for number in range(HEAD_BYTES // 100):
        protocol.data_received(f"X-{number:05}: {'a' * 100}\r\n".encode())
        if wire.closed:
            break
    assert (_problem(wire)[0], wire.closed) == (431, True)


async def test_a_head_that_dribbles_is_cut_off(wire: Wire) -> None:
    """A byte now and then (slow loris) holds no connection for ever."""
    protocol, loop = _connect(wire)
    for byte in GOOD[:-1]:
        protocol.data_received(bytes([byte]))
    assert not wire.closed
    loop.expire()
    assert wire.closed


@pytest.mark.parametrize("after", [b"\r\n", b"GET / HT"])
async def test_an_idle_connection_is_not_held_by_a_line_break_or_half_a_request(wire: Wire, after: bytes) -> None:
    """Any byte ends uvicorn's own timer for idle connections; ours takes over."""
    protocol, loop = _connect(wire)
    protocol.data_received(GOOD)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.written.endswith(b"hi")
    loop.expire()
    assert not wire.closed, "a request that came in time is served"
    protocol.data_received(after)
    loop.expire()
    assert wire.closed


async def test_a_large_body_is_no_large_head(wire: Wire) -> None:
    """It is bounded where it is read."""
    protocol, loop = _connect(wire)
    size = HEAD_BYTES * 2
    protocol.data_received(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + b"a" * size)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 200")
    loop.expire()
    assert not wire.closed


@pytest.mark.parametrize("body", [b"hello", b"2\r\nhello", b"2\r\nhe\r\nx\r\n"])
async def test_a_body_without_framing_gets_a_problem(wire: Wire, body: bytes) -> None:
    """A connection that closes without a word would tell the caller nothing."""
    protocol, _ = _connect(wire, _reading)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    status, document, _ = _problem(wire)
    assert (status, document["code"], wire.closed) == (400, "malformed_request", True)
    assert "the body has not the framing that the head names" in document["detail"]
    await _end(protocol)


async def test_a_lost_connection_leaves_no_timer(wire: Wire) -> None:
    """Else each would live for the rest of its time."""
    protocol, loop = _connect(wire)
    protocol.connection_lost(None)
    assert all(timer.cancelled for timer in loop.timers)


async def _endless(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
    scope["state"]["headers"].append(dict(scope["headers"]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nHost: a\r\n", b"0\r\n"])
async def test_fields_without_end_behind_a_request_in_hand_are_cut_off(wire: Wire, begun: bytes) -> None:
    """A head that is pipelined behind a stream, or the trailer of its own request, is no larger than any head.

    The stream goes on, and nothing is read behind it any more.
    """
    protocol, _ = _connect(wire, _endless)
    trailing = begun == b"0\r\n"
    coding = b"Transfer-Encoding: chunked\r\n" if trailing else b""
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\n" + coding + b"\r\n" + begun)
    for _ in range(HEAD_BYTES // 100):
        protocol.data_received(b"a: " + b"b" * 100 + b"\r\n")
        if wire.closed or wire.paused:
            break
    assert (wire.closed, wire.paused) == (trailing, True)
    await _end(protocol)


async def test_a_trailer_is_no_header(wire: Wire) -> None:
    """Whoever checked the head has not seen it (RFC 9110, section 6.5.1)."""
    protocol, _ = _connect(wire, _endless)
    protocol.data_received(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    )
    await asyncio.sleep(0)
    assert protocol.app_state["headers"] == [{b"host": b"a", b"transfer-encoding": b"chunked"}]
    await _end(protocol)


@pytest.mark.parametrize("head", [b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nX: %s\r\n\r\n"])
async def test_a_large_head_in_one_piece_is_refused(wire: Wire, head: bytes) -> None:
    """However it arrives."""
    protocol, _ = _connect(wire)
    protocol.data_received(head % (b"a" * (HEAD_BYTES + 1)))
    assert (_problem(wire)[0], wire.closed) == (431, True)


async def test_an_answer_that_nobody_reads_is_cut_off(wire: Wire) -> None:
    """It holds its connection for so long and no longer; who reads on is left alone."""
    protocol, loop = _connect(wire)
    protocol.pause_writing()
    protocol.resume_writing()
    loop.expire(WRITE_SECONDS)
    assert not wire.aborted
    protocol.pause_writing()
    loop.expire(WRITE_SECONDS)
    assert wire.aborted


async def test_requests_behind_one_whose_caller_left_are_forgotten(wire: Wire) -> None:
    """Nobody is there for their answers."""
    protocol, _ = _connect(wire, _endless)
    protocol.data_received(GOOD * 3)
    await asyncio.sleep(0)
    assert len(protocol.pipeline) == 1
    await _end(protocol)
    assert len(protocol.app_state["headers"]) == 1


async def _end(protocol: BoundedHttp) -> None:
    """Lose the connection, and end what served it."""
    protocol.connection_lost(None)
    for task in protocol.tasks:
        task.cancel()
    await asyncio.gather(*protocol.tasks, return_exceptions=True)
