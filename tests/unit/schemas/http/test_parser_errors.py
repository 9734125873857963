"""A refusal of bytes says what is wrong with them, and where."""

import json
from typing import Any, Final

import pytest

from schemas.http.parser_errors import Where, detail_of
from schemas.http.pieces import Part
from tests.unit.schemas.http.wire import Wire, connect, send

_HEAD: Final = b"POST / HTTP/1.1\r\nHost: a\r\n"
_CHUNKED: Final = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
DETAILS: Final = {
    b"\x16\x03\x01\x02\x00": "a TLS handshake came to a port that speaks plain HTTP",
    b"GET / RTSP/1.0\r\nHost: a\r\n\r\n": "names the protocol RTSP/1.0",
    b"OPTIONS * RTSP/1.0\r\n\r\n": "names the protocol RTSP/1.0",
    b"DESCRIBE rtsp://a/b RTSP/1.0\r\n\r\n": "names the protocol RTSP/1.0",
    b"GET / RTSP/2.0\r\n\r\n": "names the protocol RTSP/2.0",
    b"SOURCE /a ICE/1.0\r\n\r\n": "names the protocol ICE/1.0",
    b"GET / SIP/2.0\r\n\r\n": "names the protocol SIP/2.0",
    b"GET / ICAP/1.0\r\n\r\n": "names the protocol ICAP/1.0",
    b"GET / http/1.1\r\nHost: a\r\n\r\n": "names the protocol http/1.1",
    b"GET / HTTP/1.10\r\nHost: a\r\n\r\n": "names the protocol HTTP/1.10",
    b"GET / HTTP/11\r\nHost: a\r\n\r\n": "names the protocol HTTP/11",
    b"GET / HTTP/1.\r\nHost: a\r\n\r\n": "names the protocol HTTP/1.",
    b"GET / HTTP/x.1\r\nHost: a\r\n\r\n": "names the protocol HTTP/x.1",
    b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n": "names the protocol HTTPS/1.1",
    b"NO-SUCH / HTTP/1.1\r\n\r\n": "it begins with NO-SUCH / HTTP/1.1",
    b"GET\r\n\r\n": "it begins with GET",
    _HEAD + b"a: b\r\nx y\r\n\r\n": "behind the field host: invalid header token",
    b"GET / HTTP/1.1\r\nx y\r\n\r\n": "among the first fields: invalid header token",
    _HEAD + b"X-Long-Name: \x00\r\n\r\n": "behind the field host: invalid header value char",
    _HEAD + b"X: 1\r\nContent-Length: x\r\n\r\n": "behind the field x: invalid character in Content-Length",
    _CHUNKED + b"x\r\n": "behind 0 bytes of it: invalid character in chunk size",
    _CHUNKED + b"2\r\nhex\r\n": "behind 2 bytes of it: ",
    _CHUNKED + b"2\r\nhe\r\n0\r\nx y\r\n\r\n": "behind 2 bytes of it: invalid header token",
    b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n": "not a host with an optional port: a:b",
}


async def _reading(_scope: Any, receive: Any, _send: Any) -> None:  # noqa: ANN401 - an ASGI application
    while (await receive())["type"] == "http.request":
        pass


@pytest.mark.parametrize("raw", DETAILS)
async def test_bytes_that_are_refused_are_named(raw: bytes) -> None:
    """In one piece the text is exact; byte by byte it is refused as well."""
    for pieces in ([raw], [bytes([byte]) for byte in raw]):
        wire = Wire()
        protocol, _ = connect(wire, _reading)
        await send(protocol, pieces)
        problem = json.loads(wire.written.partition(b"\r\n\r\n")[2])
        assert (problem["status"], problem["code"], wire.closed) == (400, "malformed_request", True)
        if len(pieces) == 1:
            assert DETAILS[raw] in problem["detail"]
        assert "callback" not in problem["detail"]
        protocol.connection_lost(None)


def test_what_is_shown_is_short_and_printable() -> None:
    """A detail holds no control character, and no more than a few words of the request."""
    detail = detail_of("Invalid method encountered", Where(Part.LINE, b"\x00\xff\x1b[31m" + b"a" * 1_000, None, 0))
    assert detail.isprintable()
    assert len(detail) < 250
