"""A head has one meaning, or is refused."""

import json
from typing import Any

import pytest

from schemas.http.head import fault_of
from schemas.http.protocol import MOST_FIELDS
from tests.unit.schemas.http.wire import Wire, connect, send

HOST = (b"host", b"a")

REFUSED_FIELDS = {
    "no host": [],
    "two hosts": [HOST, (b"host", b"b")],
    "the same host twice": [HOST, HOST],
    "a list of hosts": [(b"host", b"a, b")],
    "a host with a space": [(b"host", b"a b")],
    "a host with a path": [(b"host", b"a/b")],
    "a host with a user": [(b"host", b"u@a")],
    "a host with a port that is none": [(b"host", b"a:b")],
    "a host with two ports": [(b"host", b"a:1:2")],
    "a broken address": [(b"host", b"[::1")],
    "a coding before chunked": [HOST, (b"transfer-encoding", b"gzip, chunked")],
    "another coding": [HOST, (b"transfer-encoding", b"gzip")],
    "identity": [HOST, (b"transfer-encoding", b"identity")],
    "chunked twice": [HOST, (b"transfer-encoding", b"chunked, chunked")],
    "two lines of chunked": [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
    "a coding with a parameter": [HOST, (b"transfer-encoding", b"chunked;q=1")],
    "an empty coding": [HOST, (b"transfer-encoding", b"")],
    "a length and a coding": [HOST, (b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
    "two lengths": [HOST, (b"content-length", b"3"), (b"content-length", b"4")],
    "the same length twice": [HOST, (b"content-length", b"3"), (b"content-length", b"3")],
    "a list of lengths": [HOST, (b"content-length", b"3, 3")],
    "a signed length": [HOST, (b"content-length", b"+3")],
    "a hexadecimal length": [HOST, (b"content-length", b"0x3")],
    "an empty length": [HOST, (b"content-length", b"")],
    "a length in other digits": [HOST, (b"content-length", "٣".encode())],
    "two types": [HOST, (b"content-type", b"application/json"), (b"content-type", b"text/plain")],
}

REFUSED_TARGETS = [
    b"/api%2fbrain/sleep_mode",
    b"/api%2Fbrain%2fsleep_mode",
    b"/api%5cbrain",
    b"/api%5Cbrain",
    b"/api\\brain",
    b"/%61pi/brain",
    b"/ap%69/brain",
    b"/api/%62rain/sleep%5fmode",
    b"/api/x/../brain",
    b"/api/./brain",
    b"/api/brain/..",
    b"/..",
    b"/api/%2e%2e/brain",
    b"/api/%2E/brain",
    b"/api/.%2e/brain",
    b"/api/..;x=y/brain",
    b"/api/brain%00",
    b"/api/brain%0d%0aX:y",
    b"/api/brain%7f",
    b"/api/%c0%af/brain",
    b"/api/%ff",
    b"/api/%zz",
    b"/api/%2",
    b"/api/%",
    b"/api/brain#x",
    b"/api/brain?a#x",
    b'/api/"',
    b"/api/<a>",
    b"/api/{a}",
    b"/api/a|b",
    b"/api/a^b",
    b"/api/a`b",
    b"/\xc3\xa4",
    b"*",
    b"api/brain",
    b"",
    b"?a",
    b"http:/a/api",
    b"http://a#x",
    b"http://u@a/api",
    b"http:///api",
    b"ftp://a/api",
    b"http://a/api%2fbrain",
]

ACCEPTED_TARGETS = [
    b"/",
    b"/api/brain/sleep_mode",
    b"/api/operations/a.b_c-d:e@f",
    b"/api/operations/a%3Ab%40c",
    b"/api/operations/caf%C3%A9",
    b"/api/operations/a%20b",
    b"/api/operations/...",
    b"/api/operations/a%252fb",
    b"/api/operations/a;b=c,d!$&'()*+",
    b"/api/tenants?cursor=a%2fb&state=..",
    b"/api/tenants?a=%2e%2e/?b",
    b"//api",
]

# A target in absolute form, with a `Host` that is the same.
ABSOLUTE_TARGETS = {
    b"http://a/api": b"a",
    b"http://a": b"a",
    b"http://a?b=c": b"a",
    b"http://A.b/api": b"a.B",
    b"http://a:80/api": b"a",
    b"http://a:/api": b"a:80",
    b"http://a/api?u=http://b": b"a:0080",
    b"http://a:8080/api": b"a:8080",
    b"HTTPS://[::1]/api": b"[0:0::1]:443",
    b"https://a/api": b"a:443",
    b"http://[v1.a:b]/api": b"[V1.A:b]",
}
OTHER_TARGETS = {
    b"http://b/api": b"a",
    b"http://a/api": b"a.b",
    b"http://a:81/api": b"a",
    b"http://a/": b"a:443",
    b"https://a/": b"a:80",
    b"http://a:0/": b"a",
    b"http://[::1]/": b"[::2]",
    b"http://b": b"a",
}
# No host with an optional port.
WRONG_HOSTS = [
    b"a, b",
    b"a b",
    b"a/b",
    b"a?b",
    b"a#b",
    b"u@a",
    b"a:b",
    b"a:1:2",
    b"a:65536",
    b"a:000000065536",
    b"a:-1",
    b":80",
    b":",
    b"[]",
    b"[::1",
    b"::1",
    b"::1]",
    b"[::1]a",
    b"[::1]:x",
    b"[:::]",
    b"[1::2::3]",
    b"[12345::]",
    b"[::1.2.3]",
    b"[1.2.3.4]",
    b"[...]",
    b"[fe80::1%eth0]",
    b"[a]",
    b"[v.a]",
    b"[vg.a]",
    b"[v1.]",
    b"a%",
    b"a%4",
    b"a%zz",
    b"%61",
    b"a%2fb",
    b"a%00",
    b"%c0%af",
    b"a\\b",
    b'"a"',
    b"<a>",
    b"a|b",
    b"{a}",
    "ä".encode(),
]


@pytest.mark.parametrize("case", REFUSED_FIELDS)
def test_fields_with_two_meanings_are_refused(case: str) -> None:
    """The detail says which one, and what to do."""
    assert fault_of(b"/", "1.1", REFUSED_FIELDS[case])


@pytest.mark.parametrize("target", REFUSED_TARGETS)
def test_targets_that_hide_their_path_are_refused(target: bytes) -> None:
    """What a proxy's rules may not see is not served."""
    assert fault_of(target, "1.1", [HOST])


@pytest.mark.parametrize("target", ACCEPTED_TARGETS)
def test_targets_with_one_meaning_are_served(target: bytes) -> None:
    """Also what a client's library encodes without need, such as the colon of an id."""
    assert fault_of(target, "1.1", [HOST]) is None


@pytest.mark.parametrize("target", ABSOLUTE_TARGETS)
def test_a_target_that_names_the_same_host_is_served(target: bytes) -> None:
    """Ports and letters that mean the same are the same."""
    assert fault_of(target, "1.1", [(b"host", ABSOLUTE_TARGETS[target])]) is None


@pytest.mark.parametrize("target", OTHER_TARGETS)
def test_a_target_that_names_another_host_is_refused(target: bytes) -> None:
    """Its authority counts (RFC 9112, section 3.2.2), and a proxy may have gone by the header."""
    fault = fault_of(target, "1.1", [(b"host", OTHER_TARGETS[target])])
    assert fault is not None
    assert "another host" in fault
    assert fault_of(target, "1.0", []) is None


@pytest.mark.parametrize("host", WRONG_HOSTS)
def test_what_is_no_host_is_refused_in_the_header_and_in_the_target(host: bytes) -> None:
    """By the syntax of RFC 3986, whatever the version."""
    for version in ("1.0", "1.1"):
        fault = fault_of(b"/", version, [(b"host", host)])
        assert fault is not None
        assert "the header host is not a host" in fault
    if not {b"/", b"?", b"#"} & {bytes([byte]) for byte in host}:
        assert fault_of(b"http://" + host + b"/", "1.0", [])


def test_an_empty_host_is_none() -> None:
    """HTTP/1.1 needs one, and `http` has no empty one (RFC 9110, section 4.2.1)."""
    for value in (b"", b" ", b"\t"):
        fault = fault_of(b"/", "1.1", [(b"host", value)])
        assert fault is not None
        assert "empty" in fault
        assert fault_of(b"/", "1.0", [(b"host", value)]) is None


@pytest.mark.parametrize(
    "host",
    [
        b"a", b"A.b-c:80", b"127.0.0.1:8080", b"[::1]:8080", b"a:", b" a ", b"a:0080", b"a:65535", b"a_b.c",
        b"[::ffff:1.2.3.4]", b"[v1f.a:b]:1", b"1.2.3", b"a%20b", b"a!$&'()*+;=~",
    ],
)  # fmt: skip
def test_one_host_is_served(host: bytes) -> None:
    """RFC 9110 allows an empty port."""
    assert (
        fault_of(b"/", "1.1", [(b"host", host), (b"content-length", b"03"), (b"accept", b"a"), (b"accept", b"b")])
        is None
    )


def test_old_http_needs_no_host_and_knows_no_coding() -> None:
    """HTTP/1.0; two hosts are refused there too."""
    assert fault_of(b"/", "1.0", []) is None
    assert fault_of(b"/", "1.0", [(b"transfer-encoding", b"chunked")])
    assert fault_of(b"/", "1.0", [HOST, HOST])


async def _never(_scope: Any, _receive: Any, _send: Any) -> None:  # noqa: ANN401 - an ASGI application
    raise AssertionError("served")


def _lines(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)


HEADS = [
    *(b"POST / HTTP/1.1\r\n" + _lines(fields) + b"\r\n" for fields in REFUSED_FIELDS.values()),
    *(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n" for target in REFUSED_TARGETS),
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n Host: b\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_refused_head_gets_a_problem_with_a_code(head: bytes, at_once: bool) -> None:  # noqa: FBT001 - parametrized
    """400 before the application sees it; what follows is never read as a request."""
    wire = Wire()
    protocol, _ = connect(wire, _never)
    await send(protocol, [head + b"3\r\nabc\r\n0\r\n\r\n"] if at_once else [bytes([byte]) for byte in head])
    answer, _, body = wire.written.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/problem+json\r\n" in answer
    document = json.loads(body)
    assert (document["status"], document["code"], wire.closed) == (400, "malformed_request", True)
    protocol.connection_lost(None)


@pytest.mark.parametrize("ended", [True, False])
async def test_a_head_of_many_fields_is_refused_before_they_take_memory(ended: bool) -> None:  # noqa: FBT001 - parametrized
    """A field of five bytes takes 200 of them; one that never ends its head holds them for ten seconds."""
    wire = Wire()
    protocol, _ = connect(wire, _never)
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"ab:c\r\n" * (MOST_FIELDS + 1)
    await send(protocol, [head + b"\r\n" * ended])
    assert wire.written.startswith(b"HTTP/1.1 431 ")
    assert b"more than 128 fields" in wire.written
    assert (wire.closed, len(protocol.headers)) == (True, MOST_FIELDS)
    protocol.connection_lost(None)
