"""What was done is answered: rubbish behind a request is refused once every answer before it was given."""

import asyncio
import json
from typing import Any, Final

import pytest

from schemas.http.protocol import HEAD_BYTES, BoundedHttp
from tests.unit.schemas.http.wire import Wire, connect, send, settle

COMMAND: Final = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED: Final = b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
RUBBISH: Final = {
    "bytes": b"\x00\x01rubbish",
    "a line": b"rubbish\r\n\r\n",
    "a head without a host": b"GET / HTTP/1.1\r\n\r\n",
    "a broken field": b"GET / HTTP/1.1\r\nHost: a\r\nx y\r\n\r\n",
    "another protocol": b"GET / RTSP/1.0\r\nHost: a\r\n\r\n",
    "another version": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a large head": b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_BYTES + b"\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 200 + b"\r\n",
    "a broken body": b"POST /broken HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
}
STATUSES: Final = {"another version": 505, "the preface of HTTP/2": 505, "a tunnel": 501} | dict.fromkeys(
    ("a large head", "many fields"), 431
)


class App:
    """Reads the body, does what it says, and answers when the test wants it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.answered = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message["more_body"]
        self.done.append(scope["path"])
        await self.answered.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def _answers(wire: Wire) -> list[tuple[int, bytes]]:
    """Return each answer's status and body."""
    found, rest = [], wire.written
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        found.append((int(head.split()[1]), rest[:length]))
        rest = rest[length:]
    return found


async def _end(protocol: BoundedHttp) -> None:
    protocol.connection_lost(None)
    for task in protocol.tasks:
        task.cancel()
    await asyncio.gather(*protocol.tasks, return_exceptions=True)


def _ways(requests: bytes, rubbish: bytes) -> list[list[bytes]]:
    ways = [[requests + rubbish], [requests, rubbish]]
    if len(rubbish) < 200:
        ways.append([bytes([byte]) for byte in requests + rubbish])
    return ways


@pytest.mark.parametrize("rubbish", RUBBISH)
@pytest.mark.parametrize("request_", [COMMAND, CHUNKED])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_command_with_rubbish_behind_it_is_answered_and_then_the_rubbish(
    rubbish: str, request_: bytes, count: int
) -> None:
    """However it arrives; a request whose own body is broken is not served."""
    requests = b"".join(request_ % number for number in range(count))
    for pieces in _ways(requests, RUBBISH[rubbish]):
        app, wire = App(), Wire()
        protocol, _ = connect(wire, app)
        await send(protocol, pieces)
        assert (app.done, wire.written, wire.closed, wire.paused) == (["/0"], b"", False, True)
        app.answered.set()
        for _ in range(2 * count):
            await settle()
        *answers, (status, body) = _answers(wire)
        assert answers == [(200, b"ok")] * count
        assert app.done == [f"/{number}" for number in range(count)]
        problem = json.loads(body)
        assert status == problem["status"] == STATUSES.get(rubbish, 400)
        assert wire.closed
        await _end(protocol)


async def test_rubbish_waits_until_the_answer_before_it_was_read() -> None:
    """A client that reads slowly gets both."""
    app, wire = App(), Wire()
    app.answered.set()
    protocol, _ = connect(wire, app)
    wire.room = 10
    await send(protocol, [COMMAND % 0 + COMMAND % 1 + RUBBISH["a line"]])
    assert (app.done, wire.closed) == (["/0"], False)
    wire.take()
    await settle()
    assert [status for status, _ in _answers(wire)] == [200, 200, 400]
    assert wire.closed
    await _end(protocol)


async def test_rubbish_behind_a_last_request_is_not_read() -> None:
    """Its client has said that nothing follows."""
    app, wire = App(), Wire()
    app.answered.set()
    protocol, _ = connect(wire, app)
    await send(protocol, [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + RUBBISH["a line"]])
    assert [status for status, _ in _answers(wire)] == [200]
    assert wire.closed
    await _end(protocol)


async def test_a_flood_of_rubbish_behind_a_request_takes_nothing() -> None:
    """Nothing of it is kept, and the socket is not read."""
    app, wire = App(), Wire()
    protocol, _ = connect(wire, app)
    await send(protocol, [COMMAND % 0, *[RUBBISH["a line"] * 100] * 20])
    assert (protocol._waiting, list(protocol.pipeline), wire.paused) == (b"", [], True)  # noqa: SLF001 - what it holds
    await _end(protocol)
