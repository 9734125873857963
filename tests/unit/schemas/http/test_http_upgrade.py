"""An upgrade is ignored, and no byte of a body is ever read as a request (RFC 9110, section 7.8)."""

import json
from typing import Any, Final, NamedTuple

import pytest

from schemas.http.protocol import HEAD_BYTES
from tests.unit.schemas.http.wire import Wire, connect, send

HTTP2_SETTINGS: Final = b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
ASKING: Final = {
    "h2c as Java and curl ask": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" + HTTP2_SETTINGS,
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n",
    "TLS": b"Upgrade: TLS/1.0\r\nConnection: upgrade\r\n",
    "made up": b"connection: UPGRADE\r\nUPGRADE: teleport/7\r\n",
    "several at once": b"Connection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket , TLS/1.3\r\n",
    "two lines of each": b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
    "an empty one": b"Connection: Upgrade\r\nUpgrade:\r\n",
    "one behind an empty field": b"X-Empty:\r\nUpgrade: h2c\r\nConnection:upgrade\r\n",
    "no token of Connection": b"Upgrade: h2c\r\n",
}
# A body that is a request: a parser that lost the body's length would serve it.
SMUGGLED: Final = b"DELETE /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
BODIES: Final = {
    "with a length": (b"Content-Length: %d\r\n\r\n" % len(SMUGGLED), SMUGGLED),
    "in chunks": (
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"7\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (SMUGGLED[:7], len(SMUGGLED) - 7, SMUGGLED[7:]),
    ),
}
NEXT: Final = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


class Request(NamedTuple):
    """A request as the application saw it."""

    method: str
    path: str
    body: bytes
    headers: dict[bytes, bytes]


class Echo:
    """An application that reads each body to its end, and remembers the requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.requests.append(Request(scope["method"], scope["path"], body, dict(scope["headers"])))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def _head(asking: bytes, framing: bytes, method: bytes = b"POST") -> bytes:
    return method + b" /upgraded?a=b HTTP/1.1\r\nHost: a\r\n" + asking + b"Content-Type: application/json\r\n" + framing


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("asking", ASKING)
async def test_an_upgrade_is_ignored_and_its_body_is_a_body(asking: str, body: str) -> None:
    """At once, the body later, each byte by itself, and cut in two at every place; a request follows."""
    framing, content = BODIES[body]
    head = _head(ASKING[asking], framing)
    stream = head + content + NEXT
    ways = [[stream], [head, content, NEXT], [head, content + NEXT], [head + content, NEXT]]
    ways += [[stream[:cut], stream[cut:]] for cut in range(1, len(stream))]
    ways.append([bytes([byte]) for byte in stream])
    for pieces in ways:
        echo, wire = Echo(), Wire()
        protocol, _ = connect(wire, echo)
        await send(protocol, pieces)
        upgraded, following = echo.requests
        assert (upgraded.method, upgraded.path, upgraded.body) == ("POST", "/upgraded", SMUGGLED)
        assert (following.method, following.path, following.body) == ("GET", "/next", b"")
        assert upgraded.headers[b"content-type"] == b"application/json"
        assert wire.written.count(b"HTTP/1.1 200") == 2
        assert (wire.closed, b"101" in wire.written) == (False, False)
        protocol.connection_lost(None)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
async def test_an_upgrade_without_a_body_is_ignored(method: bytes) -> None:
    """One after the other on one connection, in one piece."""
    echo, wire = Echo(), Wire()
    protocol, _ = connect(wire, echo)
    await send(protocol, [_head(ASKING["websocket"], b"\r\n", method) * 3 + NEXT])
    assert [request.path for request in echo.requests] == ["/upgraded"] * 3 + ["/next"]
    protocol.connection_lost(None)


async def test_upgrades_in_a_row_each_keep_their_body() -> None:
    """Each has a parser of its own, and the last one's goes on."""
    echo, wire = Echo(), Wire()
    protocol, _ = connect(wire, echo)
    upgrade = b"".join((_head(ASKING["TLS"], BODIES["in chunks"][0]), BODIES["in chunks"][1]))
    await send(protocol, [NEXT + upgrade * 3 + NEXT])
    assert [request.body for request in echo.requests] == [b"", *[SMUGGLED] * 3, b""]
    protocol.connection_lost(None)


async def test_a_body_that_nobody_reads_is_no_request_either() -> None:
    """An application that refuses a request by its head leaves the body unread."""
    paths: list[str] = []

    async def refuse(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
        paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    wire = Wire()
    protocol, _ = connect(wire, refuse)
    for framing, content in BODIES.values():
        await send(protocol, [_head(ASKING["made up"], framing), content, NEXT])
    assert paths == ["/upgraded", "/next"] * 2
    protocol.connection_lost(None)


async def test_a_body_that_breaks_off_is_no_request() -> None:
    """Too few bytes of it: the application goes on waiting."""
    echo, wire = Echo(), Wire()
    protocol, _ = connect(wire, echo)
    framing = b"Content-Length: %d\r\n\r\n" % (len(SMUGGLED) + 1)
    await send(protocol, [_head(ASKING["websocket"], framing), SMUGGLED])
    assert (echo.requests, wire.written) == ([], b"")
    for task in protocol.tasks:
        task.cancel()
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n"],
)
async def test_two_lengths_are_refused_with_an_upgrade_as_without(framing: bytes) -> None:
    """The head is parsed twice, both times as strictly."""
    echo, wire = Echo(), Wire()
    protocol, _ = connect(wire, echo)
    await send(protocol, [_head(ASKING["websocket"], framing) + SMUGGLED])
    assert (echo.requests, wire.written.split(b" ")[1], wire.closed) == ([], b"400", True)
    protocol.connection_lost(None)


async def test_a_large_head_is_refused_with_an_upgrade_as_without() -> None:
    """What is parsed again counts once."""
    echo, wire = Echo(), Wire()
    protocol, _ = connect(wire, echo)
    much = b"X: %b\r\n" % (b"a" * (HEAD_BYTES - 400))
    await send(protocol, [_head(ASKING["websocket"] + much, b"\r\n")])
    assert len(echo.requests) == 1
    await send(protocol, [_head(ASKING["websocket"] + much + b"Y: %b\r\n" % (b"a" * 400), b"\r\n")])
    assert (len(echo.requests), wire.closed, b"431" in wire.written) == (1, True, True)
    protocol.connection_lost(None)


async def test_100_continue_is_said_for_an_upgrade_too() -> None:
    """Before the body, and once."""
    echo, wire = Echo(), Wire()
    protocol, _ = connect(wire, echo)
    framing, content = BODIES["with a length"]
    await send(protocol, [_head(ASKING["TLS"] + b"Expect: 100-continue\r\n", framing)])
    assert wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    await send(protocol, [content])
    assert (wire.written.count(b"100 Continue"), echo.requests[0].body) == (1, SMUGGLED)
    protocol.connection_lost(None)


@pytest.mark.parametrize("asking", [b"", ASKING["websocket"]])
@pytest.mark.parametrize("behind", [b"", SMUGGLED])
async def test_connect_opens_no_tunnel(asking: bytes, behind: bytes) -> None:
    """Refused with its own status; what is behind the head is not read."""
    for pieces in ([b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n" + asking + b"\r\n", behind], [
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n" + asking + b"Content-Length: 39\r\n\r\n" + behind
    ]):  # fmt: skip
        echo, wire = Echo(), Wire()
        protocol, _ = connect(wire, echo)
        await send(protocol, pieces)
        assert _refusal(wire) == (501, "method_not_implemented")
        assert (echo.requests, wire.closed) == ([], True)
        protocol.connection_lost(None)


@pytest.mark.parametrize(
    "begun",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /\r\n\r\n",
    ],
)
async def test_another_version_of_http_gets_505_and_the_connection_closes(begun: bytes) -> None:
    """The preface of HTTP/2, sent without asking, among them; in one piece or byte by byte."""
    for pieces in ([begun], [bytes([byte]) for byte in begun]):
        echo, wire = Echo(), Wire()
        protocol, _ = connect(wire, echo)
        await send(protocol, pieces)
        assert _refusal(wire) == (505, "http_version_not_supported")
        assert (echo.requests, wire.closed) == ([], True)
        protocol.connection_lost(None)


def _refusal(wire: Wire) -> tuple[int, str]:
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert f"content-length: {len(body)}\r\n".encode() in head
    problem = json.loads(body)
    assert int(head.split()[1]) == problem["status"]
    return problem["status"], problem["code"]
