"""One request over httpx: what it sends, and the bounds of what it reads."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from sleep_client.protocol.answer import Answer
from sleep_client.runtime.http import MOST_BYTES, HttpPoster, NoAnswerError

TOKEN: Final = "abc.def"


def post(transport: httpx.BaseTransport, url: str = "https://sleep.example/base/") -> Answer:
    """Post an empty batch over a transport."""
    ticks = iter(range(1000))
    poster = HttpPoster(httpx.URL(url), None, lambda: float(next(ticks)), transport)
    try:
        return poster.post(b"[]", TOKEN, 10.0)
    finally:
        poster.close()


def test_a_batch_is_posted_with_the_token_and_bounds_of_time(caplog: pytest.LogCaptureFixture) -> None:
    """Below the path of the URL; and httpx logs nothing."""
    seen: list[httpx.Request] = []
    caplog.set_level(logging.INFO)

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(202, headers={"Date": "x", "Retry-After": "3"}, stream=httpx.ByteStream(b"{}"))

    answer = post(httpx.MockTransport(handle))
    assert (answer.status, answer.headers["retry-after"], answer.date) == (202, "3", None)
    (request,) = seen
    assert str(request.url) == "https://sleep.example/base/api/breakers/events"
    assert (request.method, request.content) == ("POST", b"[]")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/cloudevents-batch+json"
    assert "accept-encoding" not in request.headers
    assert request.extensions["timeout"] == {"connect": 10.0, "read": 10.0, "write": 10.0, "pool": 10.0}
    assert caplog.records == []


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, OSError])
def test_a_failure_of_the_network_is_no_answer(error: type[Exception]) -> None:
    """Its text says which."""

    def handle(_: httpx.Request) -> httpx.Response:
        raise error("no route")

    with pytest.raises(NoAnswerError, match=f"^{error.__name__}: no route$"):
        post(httpx.MockTransport(handle))


def test_the_first_request_imports_nothing() -> None:
    """A fork in the middle of an import leaves the child without the module."""
    code = "import sys, sleep_client; print('encodings.idna' in sys.modules)"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "True\n"


class _Endless(httpx.SyncByteStream):
    def __init__(self, size: int) -> None:
        self.size = size
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b"x" * self.size

    def close(self) -> None:
        self.closed = True


def test_an_answer_is_read_up_to_a_bound() -> None:
    """The connection is closed then."""
    stream = _Endless(10_000)
    answer = post(httpx.MockTransport(lambda _: httpx.Response(500, stream=stream)))
    assert len(answer.body) == MOST_BYTES
    assert stream.closed


def test_an_answer_that_trickles_ends_with_the_time_of_the_request() -> None:
    """Each byte of it comes in time."""
    stream = _Endless(1)
    with pytest.raises(NoAnswerError, match="did not end in time"):
        post(httpx.MockTransport(lambda _: httpx.Response(202, stream=stream)))
    assert stream.closed


def test_a_compressed_answer_is_not_expanded() -> None:
    """64 KiB of it could be gigabytes."""
    response = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"not gzip"))
    assert post(httpx.MockTransport(lambda _: response)).body == b"not gzip"
