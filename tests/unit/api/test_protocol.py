"""What stands before the application: bytes that are no HTTP, heads without end."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from api.door.protocol import HEAD_BYTES, HEAD_SECONDS, WRITE_SECONDS, BoundedHttp

GOOD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class _Wire:
    """A transport that remembers what was written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = False

    def get_extra_info(self, _: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_protocol(self, _: object) -> None: ...


class _Loop:
    """A loop whose timers go off when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def call_later(self, seconds: float, callback: Any, *_: Any) -> Any:  # noqa: ANN401 - as the loop's own
        timer = SimpleNamespace(seconds=seconds, callback=callback, cancelled=False)
        timer.cancel = lambda: setattr(timer, "cancelled", True)
        self.timers.append(timer)
        return timer

    def create_task(self, coroutine: Any, **_: Any) -> Any:  # noqa: ANN401 - as the loop's own
        return asyncio.get_running_loop().create_task(coroutine)

    def expire(self, seconds: float = HEAD_SECONDS) -> None:
        """Let every timer of this length go off that was not cancelled; by default those for a head."""
        for timer in self.timers:
            if timer.seconds == seconds and not timer.cancelled:
                timer.callback()


async def _hello(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@pytest.fixture
def wire() -> _Wire:
    """The other end."""
    return _Wire()


def _connect(wire: _Wire, app: Any = _hello) -> tuple[BoundedHttp, _Loop]:  # noqa: ANN401 - an ASGI application
    config = uvicorn.Config(app, loop="none", ws="none", lifespan="off", log_config=None)
    config.load()
    loop = _Loop()
    protocol = BoundedHttp(config, ServerState(), {"headers": []}, loop)  # type: ignore[arg-type]
    protocol.connection_made(wire)  # type: ignore[arg-type]
    return protocol, loop


def _problem(wire: _Wire) -> tuple[int, dict[str, Any], bytes]:
    head, _, body = wire.written.partition(b"\r\n\r\n")
    document: dict[str, Any] = json.loads(body)
    assert f"content-length: {len(body)}\r\n".encode() in head
    return int(head.split()[1]), document, head


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nx y\r\n\r\n"]
)
async def test_what_is_no_http_gets_a_problem_and_the_door_shut(wire: _Wire, garbage: bytes) -> None:
    """TLS on a plain port, a torn request line, a broken header."""
    protocol, _ = _connect(wire)
    protocol.data_received(garbage)
    status, document, head = _problem(wire)
    assert (status, document["code"], wire.closed) == (400, "malformed_request", True)
    assert document["instance"].removeprefix("urn:uuid:").encode() in head
    assert b"application/problem+json" in head


async def test_a_head_without_end_is_cut_off(wire: _Wire) -> None:
    """A megabyte of headers, in small pieces."""
    protocol, _ = _connect(wire)
    protocol.data_received(b"GET / HTTP/1.1\r\n")
    for number in range(HEAD_BYTES // 100):
        protocol.data_received(f"X-{number:05}: {'a' * 100}\r\n".encode())
        if wire.closed:
            break
    assert (_problem(wire)[0], wire.closed) == (431, True)


async def test_a_head_that_dribbles_is_cut_off(wire: _Wire) -> None:
    """A byte now and then (slow loris) holds no connection for ever."""
    protocol, loop = _connect(wire)
    for byte in GOOD[:-1]:
        protocol.data_received(bytes([byte]))
    assert not wire.closed
    loop.expire()
    assert wire.closed


@pytest.mark.parametrize("after", [b"\r\n", b"GET / HT"])
async def test_an_idle_connection_is_not_held_by_a_line_break_or_half_a_request(wire: _Wire, after: bytes) -> None:
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


async def test_a_large_body_is_no_large_head(wire: _Wire) -> None:
    """It is bounded where it is read."""
    protocol, loop = _connect(wire)
    size = HEAD_BYTES * 2
    protocol.data_received(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + b"a" * size)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 200")
    loop.expire()
    assert not wire.closed


async def test_garbage_behind_a_request_does_not_mix_with_its_answer(wire: _Wire) -> None:
    """The first answer is not begun yet, so nothing but the end of the connection can be said."""
    protocol, _ = _connect(wire)
    protocol.data_received(GOOD)
    protocol.data_received(b"\x00\x01garbage\r\n\r\n")
    assert (wire.written, wire.closed) == (b"", True)
    await asyncio.sleep(0)


async def test_a_lost_connection_leaves_no_timer(wire: _Wire) -> None:
    """Else each would live for the rest of its time."""
    protocol, loop = _connect(wire)
    protocol.connection_lost(None)
    assert all(timer.cancelled for timer in loop.timers)


async def _endless(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
    scope["state"]["headers"].append(dict(scope["headers"]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.Event().wait()


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nHost: a\r\n", b"0\r\n"])
async def test_fields_without_end_behind_a_request_in_hand_are_cut_off(wire: _Wire, begun: bytes) -> None:
    """A head that is pipelined behind a stream, or the trailer of its own request, is no larger than any head."""
    protocol, _ = _connect(wire, _endless)
    trailing = begun == b"0\r\n"
    coding = b"Transfer-Encoding: chunked\r\n" if trailing else b""
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: a\r\n" + coding + b"\r\n" + begun)
    for _ in range(HEAD_BYTES // 100):
        protocol.data_received(b"a: " + b"b" * 100 + b"\r\n")
        if wire.closed:
            break
    assert wire.closed
    await _end(protocol)


async def test_a_trailer_is_no_header(wire: _Wire) -> None:
    """Whoever checked the head has not seen it (RFC 9110, section 6.5.1)."""
    protocol, _ = _connect(wire, _endless)
    protocol.data_received(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    )
    await asyncio.sleep(0)
    assert protocol.app_state["headers"] == [{b"host": b"a", b"transfer-encoding": b"chunked"}]
    await _end(protocol)


@pytest.mark.parametrize("head", [b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nX: %s\r\n\r\n"])
async def test_a_large_head_in_one_piece_is_refused(wire: _Wire, head: bytes) -> None:
    """However it arrives."""
    protocol, _ = _connect(wire)
    protocol.data_received(head % (b"a" * (HEAD_BYTES + 1)))
    assert (_problem(wire)[0], wire.closed) == (431, True)


async def test_an_answer_that_nobody_reads_is_cut_off(wire: _Wire) -> None:
    """It holds its connection for so long and no longer; who reads on is left alone."""
    protocol, loop = _connect(wire)
    protocol.pause_writing()
    protocol.resume_writing()
    loop.expire(WRITE_SECONDS)
    assert not wire.aborted
    protocol.pause_writing()
    loop.expire(WRITE_SECONDS)
    assert wire.aborted


async def test_requests_behind_one_whose_caller_left_are_forgotten(wire: _Wire) -> None:
    """Nobody is there for their answers."""
    protocol, _ = _connect(wire, _endless)
    protocol.data_received(GOOD * 3)
    await asyncio.sleep(0)
    assert len(protocol.pipeline) == 2
    await _end(protocol)
    assert len(protocol.app_state["headers"]) == 1


async def _end(protocol: BoundedHttp) -> None:
    """Lose the connection, and end what served it."""
    protocol.connection_lost(None)
    for task in protocol.tasks:
        task.cancel()
    await asyncio.gather(*protocol.tasks, return_exceptions=True)
