"""One connection to OPA, byte by byte: what is an answer, what is none, and what bars the next question."""

import asyncio
from collections.abc import Iterable

import pytest

from api.security.opa_client import OpaClient
from api.security.opa_connection import LONGEST_ANSWER, InvalidAnswerError, OpaConnection

OK = b"HTTP/1.1 200 OK\r\n"
YES = OK + b"Content-Length: 3\r\n\r\nyes"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\ny\r\n2\r\nes\r\n0\r\n\r\n"


class Line(asyncio.Transport):
    """A transport that only remembers whether it was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send nothing."""

    def abort(self) -> None:
        self.aborted = True


async def _answered(parts: Iterable[bytes], *, end: bool = False) -> tuple[OpaConnection, bytes]:
    """Ask one question, and answer it with these parts."""
    connection, line = OpaConnection(), Line()
    connection.connection_made(line)
    asking = asyncio.create_task(connection.ask(b"question"))
    await asyncio.sleep(0)
    for part in parts:
        connection.data_received(part)
    if end:
        connection.eof_received()
    async with asyncio.timeout(5):
        return connection, await asking


@pytest.mark.parametrize(
    "answer",
    [
        *(YES, CHUNKED),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + YES,
    ],
    ids=["length", "chunks", "informed-before"],
)
async def test_an_answer_is_read_however_it_is_cut(answer: bytes) -> None:
    """Whole and byte by byte; the connection may take the next question."""
    for parts in ([answer], [bytes([byte]) for byte in answer]):
        connection, body = await _answered(parts)
        assert (body, connection.more, connection.reusable) == (b"yes", False, True)


async def test_a_second_question_is_answered_on_the_same_connection() -> None:
    """Nothing of the first answer is left."""
    connection, _ = await _answered([YES])
    asking = asyncio.create_task(connection.ask(b"question"))
    await asyncio.sleep(0)
    connection.data_received(OK + b"Content-Length: 2\r\n\r\nno")
    assert await asking == b"no"
    assert connection.reusable


async def test_a_body_may_end_with_the_connection() -> None:
    """Where no length is told; nothing else can be asked on it."""
    connection, body = await _answered([OK + b"\r\nye", b"s"], end=True)
    assert (body, connection.reusable) == (b"yes", False)


@pytest.mark.parametrize(
    "answer",
    [
        *(YES[:-1], CHUNKED[:-4], OK, b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"Content-Length: 1\r\n" * 2 + b"\r\n"),
        *(b"SSH-2.0-OpenSSH\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nyes",
    ],
)
async def test_an_answer_that_is_incomplete_or_no_http_is_invalid(answer: bytes) -> None:
    """The error does not quote it."""
    with pytest.raises(InvalidAnswerError) as refused:
        await _answered([answer], end=True)
    assert str(refused.value) in {
        "its answer is not valid HTTP, or incomplete",
        "it answered 101 Switching Protocols",
    }


async def test_a_connection_that_ends_without_an_answer_is_lost() -> None:
    """So a question on an idle connection may be asked again."""
    with pytest.raises(ConnectionResetError):
        await _answered([], end=True)


@pytest.mark.parametrize("first", [YES, YES.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
@pytest.mark.parametrize("second", [OK + b"Content-Length: 2\r\n\r\nno", b"rubbish"])
async def test_what_follows_an_answer_is_noticed_and_is_no_part_of_it(first: bytes, second: bytes) -> None:
    """In the same bytes as the answer, and in later ones before it was taken."""
    for parts in ([first + second], [first, second]):
        connection, body = await _answered(parts)
        assert (body, connection.more, connection.reusable) == (b"yes", True, False)


async def test_bytes_without_a_question_close_the_connection() -> None:
    """They would be taken for the next answer."""
    connection, line = OpaConnection(), Line()
    connection.connection_made(line)
    connection.data_received(YES)
    assert line.aborted
    with pytest.raises(ConnectionResetError):
        await connection.ask(b"question")


@pytest.mark.parametrize(
    "answer",
    [
        YES.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        YES.replace(b"1.1", b"1.0"),
    ],
)
async def test_a_server_that_closes_gets_no_other_question(answer: bytes) -> None:
    """HTTP says so."""
    connection, body = await _answered([answer])
    assert (body, connection.more, connection.reusable) == (b"yes", False, False)


@pytest.mark.parametrize(
    ("begin", "endless", "most"),
    [
        *((OK, b"x" * 1_024, 20_000), (OK, b"x: y\r\n" * 100, 20_000), (b"", b"x" * 1_024, 20_000)),
        (OK + b"Content-Length: 99999999\r\n\r\n", b"x" * 1_024, LONGEST_ANSWER + 2_048),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"e" * 1_024 + b"\r\nx\r\n", 90_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40, 90_000),
    ],
    ids=["field", "fields", "line", "body", "chunks", "informing"],
)
async def test_an_answer_without_an_end_is_given_up(begin: bytes, endless: bytes, most: int) -> None:
    """Whatever it is that does not end."""
    sent = 0

    def parts() -> Iterable[bytes]:
        nonlocal sent
        yield begin
        while sent < 1 << 20:
            sent += len(endless)
            yield endless

    connection, line = OpaConnection(), Line()
    connection.connection_made(line)
    asking = asyncio.create_task(connection.ask(b"question"))
    await asyncio.sleep(0)
    for part in parts():
        connection.data_received(part)
        await asyncio.sleep(0)
        if asking.done():
            break
    with pytest.raises(InvalidAnswerError):
        await asking
    assert sent < most


@pytest.mark.parametrize("url", ["http://opa/a b", "http://opa/\N{SNOWMAN}", "http://o\xfca/"])
def test_a_url_that_no_request_can_hold_is_refused(url: str) -> None:
    """At the start, and not at each question."""
    with pytest.raises(ValueError, match="ASCII"):
        OpaClient(url)
