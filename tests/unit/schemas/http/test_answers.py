"""Answers that nobody takes are bounded, a client's and in all, and those that matter are given all the same."""

import asyncio
import json
from typing import Any

import pytest

from schemas.http.answers import SMALL_BYTES, Answers, client_of
from schemas.http.protocol import BoundedHttp
from tests.unit.schemas.http.wire import Wire, connect, send, settle

ROOM = 1_000
LARGE = SMALL_BYTES + 1
UNREAD = LARGE - ROOM
"""What is unread, at least, of a large answer."""


class App:
    """An application that gives answers of one size, and counts what it was asked for."""

    def __init__(self, size: int = LARGE) -> None:
        self.asked = 0
        self.begin = asyncio.Event()
        self.begin.set()
        self._size = size

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
        self.asked += 1
        await self.begin.wait()
        length = (b"content-length", str(self._size).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": b"x" * self._size})


class Client(Wire):
    """A client that takes no more than a refusal until it is told to."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        super().__init__()
        self.room = ROOM
        self._address = address

    def get_extra_info(self, name: str) -> Any:  # noqa: ANN401 - as a transport's
        return (self._address, 1) if name == "peername" else None

    @property
    def refusal(self) -> tuple[int, str]:
        """The status and the code of the refusal that was written last."""
        head, _, body = self.written[self.written.rindex(b"HTTP/1.1") :].partition(b"\r\n\r\n")
        assert b"retry-after: " in head
        assert b"content-type: application/problem+json" in head
        return int(head.split()[1]), json.loads(body)["code"]


async def _ask(client: Client, app: App, answers: Answers, line: bytes = b"GET /document") -> BoundedHttp:
    protocol, _ = connect(client, app, answers)
    await send(protocol, [line + b" HTTP/1.1\r\nHost: a\r\n\r\n"])
    return protocol


async def test_a_client_that_reads_nothing_gets_no_further_answer_and_others_do() -> None:
    """429 before anything is built, until the client has read. A client of another address is served."""
    app, answers = App(), Answers(client_bytes=2 * UNREAD, all_bytes=100 * LARGE)
    clients = [Client(), Client()]
    protocols = [await _ask(client, app, answers) for client in clients]
    refused = Client()
    protocols.append(await _ask(refused, app, answers))
    assert (refused.refusal, app.asked, refused.closed) == ((429, "too_many_unread_answers"), 2, True)
    other = Client("192.0.2.2")
    protocols.append(await _ask(other, app, answers))
    assert (b"HTTP/1.1 200" in other.written, app.asked) == (True, 3)
    clients[0].take()
    again = Client()
    protocols.append(await _ask(again, app, answers))
    assert b"HTTP/1.1 200" in again.written
    for protocol in protocols:
        protocol.connection_lost(None)
    assert answers.total == 0


async def test_all_clients_together_have_a_bound_too() -> None:
    """503 before anything is built, for every client."""
    app, answers = App(), Answers(client_bytes=100 * LARGE, all_bytes=2 * UNREAD)
    protocols = [await _ask(Client(f"192.0.2.{number}"), app, answers) for number in range(2)]
    refused = Client("192.0.2.9")
    protocols.append(await _ask(refused, app, answers))
    assert (refused.refusal, app.asked) == ((503, "overloaded"), 2)
    for protocol in protocols:
        protocol.connection_lost(None)
    assert answers.total == 0


async def test_answers_that_were_built_meanwhile_are_dropped() -> None:
    """Whoever asks many times at once is served as far as the bound goes, and one answer further at the most."""
    app, answers = App(), Answers(client_bytes=2 * UNREAD)
    app.begin.clear()
    clients = [Client() for _ in range(20)]
    protocols = [await _ask(client, app, answers) for client in clients]
    assert app.asked == 20
    app.begin.set()
    await settle()
    served = [client for client in clients if b"HTTP/1.1 200" in client.written]
    assert len(served) <= 3
    assert {client.refusal for client in clients if client not in served} == {(429, "too_many_unread_answers")}
    assert answers.total <= 3 * LARGE + 20 * 1_000
    for protocol in protocols:
        protocol.connection_lost(None)


@pytest.mark.parametrize(
    "line", [b"GET /healthz", b"GET /readyz", b"DELETE /api/util/sleep/1", b"POST /api/brain/sleep_mode"]
)
async def test_probes_and_commands_are_served_whatever_is_unread(line: bytes) -> None:
    """A process that says nothing of its life is ended, and waking is never refused."""
    answers = Answers(client_bytes=1, all_bytes=1)
    protocols = [await _ask(Client(), App(), answers)]
    client, app = Client(), App(size=300)
    protocols.append(await _ask(client, app, answers, line))
    assert (app.asked, b"HTTP/1.1 200" in client.written) == (1, True)
    for protocol in protocols:
        protocol.connection_lost(None)


@pytest.mark.parametrize("line", [b"PUT /api/brain/sleep_policy", b"DELETE /api/brain/sleep_policy"])
async def test_an_answer_that_says_what_was_done_is_given_whatever_its_size(line: bytes) -> None:
    """A refusal would say that nothing was."""
    answers = Answers(client_bytes=1, all_bytes=1)
    protocols = [await _ask(Client(), App(), answers)]
    client = Client()
    protocols.append(await _ask(client, App(), answers, line))
    assert b"HTTP/1.1 200" in client.written
    for protocol in protocols:
        protocol.connection_lost(None)


async def test_a_large_preview_is_dropped_above_the_bound() -> None:
    """It does nothing, and its answer may be as large as a page."""
    answers = Answers(client_bytes=1)
    protocols = [await _ask(Client(), App(), answers)]
    client = Client()
    protocols.append(await _ask(client, App(), answers, b"POST /api/brain/sleep_policy/preview"))
    assert client.refusal == (429, "too_many_unread_answers")
    for protocol in protocols:
        protocol.connection_lost(None)


async def test_a_stream_counts_with_what_is_unread_of_it() -> None:
    """Its length is not known, so each chunk counts."""

    async def stream(_scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - an ASGI application
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x" * 1_000, "more_body": True})

    client, answers = Client(), Answers()
    protocol, _ = connect(client, stream, answers)
    await send(protocol, [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert 0 < answers.total < 3_000
    client.take()
    assert answers.total == 0
    await settle()
    protocol.connection_lost(None)
    await asyncio.gather(*protocol.tasks, return_exceptions=True)
    assert answers.total == 0


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("/run/sleep.sock", "/run/sleep.sock"),
    ],
)
def test_a_client_is_an_address_or_a_network_that_one_may_have_to_itself(address: str, client: str) -> None:
    """Whoever has one address of IPv6 has 2 to the 64."""
    assert client_of((address, 1)) == client
    assert client_of(None) == ""


class Writes(Wire):
    """A client that counts what is written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data: bytes) -> None:
        self.sizes.append(len(data))
        super().write(data)


@pytest.mark.parametrize(("size", "writes"), [(1, 1), (SMALL_BYTES, 1), (LARGE, 2)])
async def test_a_small_answer_is_one_write(size: int, writes: int) -> None:
    """Head and body together: one system call and one packet."""
    client = Writes()
    protocol, _ = connect(client, App(size))
    await send(protocol, [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert (len(client.sizes), client.written.endswith(b"\r\n\r\n" + b"x" * size)) == (writes, True)


@pytest.mark.parametrize("name", [b"a b", b"a\nb"])
async def test_a_header_that_would_break_the_head_is_not_written(name: bytes) -> None:
    """Nor is one whose value would."""
    for header in ((name, b"1"), (b"x", b"1\r\ny: 2")):
        client = Wire()

        async def app(_scope: Any, _receive: Any, send: Any, header: tuple[bytes, bytes] = header) -> None:  # noqa: ANN401 - ASGI
            headers = [(b"content-length", b"2"), header]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"hi"})

        protocol, _ = connect(client, app)
        await send(protocol, [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
        assert client.written.startswith(b"HTTP/1.1 500 ")


async def test_an_answer_that_ends_the_connection_is_left_to_uvicorn() -> None:
    """Which writes twice, and closes."""
    client = Writes()
    protocol, _ = connect(client, App(2))
    await send(protocol, [b"GET / HTTP/1.0\r\n\r\n"])
    assert (len(client.sizes), client.closed) == (2, True)


async def test_an_answer_to_head_has_no_body() -> None:
    """Though its length is told."""
    client = Writes()
    protocol, _ = connect(client, App(2))
    await send(protocol, [b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert b"content-length: 2" in client.written
    assert client.written.endswith(b"\r\n\r\n")
