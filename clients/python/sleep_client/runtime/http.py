"""One request over httpx, with bounds of its size and duration."""

import codecs
import ssl
from collections.abc import Callable
from typing import Final, Protocol

import httpx

from sleep_client.emission.events import CONTENT_TYPE, PATH
from sleep_client.protocol.answer import Answer

MOST_BYTES: Final = 65_536
"""What is read of an answer. The largest one of the server, with 20 wrong fields, is smaller."""
_KEEPALIVE_SECONDS: Final = 3.0
"""Below the 5 s after which the server closes an idle connection, so that no request meets a closed one."""

# The first look-up of a host imports this codec. A fork in the middle of that leaves the child without it for ever.
codecs.lookup("idna")


FAILURES: Final = (httpx.HTTPError, httpx.StreamError, OSError)
"""What httpx raises if the network, or the other side, fails."""


def endpoint(url: httpx.URL, path: str) -> httpx.URL:
    """Return the URL of a path of the API."""
    return url.copy_with(path=f"{url.path.rstrip('/')}{path}")


def headers(token: str, accept: str) -> dict[str, str]:
    """Return the headers of each request."""
    return {"Authorization": f"Bearer {token}", "Accept": accept, "User-Agent": "somabrain-sleep-client"}


def answer_of(response: httpx.Response, body: bytes) -> Answer:
    """Return an answer for the core."""
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


class NoAnswerError(Exception):
    """A request got no answer. The text says why."""


class Poster(Protocol):
    """Sends a batch."""

    def post(self, body: bytes, token: str, seconds: float) -> Answer:
        """Send a batch and return the answer.

        Args:
            body: the batch.
            token: the bearer token.
            seconds: how long it may take.

        Raises:
            NoAnswerError: if there is none.
        """
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


class HttpPoster:
    """Posts batches to the API.

    It uses a transport of httpx and no client. A client logs each request, and follows `HTTP_PROXY`. A token should not
    go to a proxy that was set for another purpose.

    Args:
        url: of the API.
        context: how its certificate is checked; None without TLS.
        clock: the time, in seconds.
        transport: in place of one that opens connections.
    """

    def __init__(
        self,
        url: httpx.URL,
        context: ssl.SSLContext | None,
        clock: Callable[[], float],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = endpoint(url, PATH)
        self._clock = clock
        self._transport = transport or httpx.HTTPTransport(
            verify=False if context is None else context,
            trust_env=False,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_KEEPALIVE_SECONDS),
        )

    def post(self, body: bytes, token: str, seconds: float) -> Answer:
        """Send a batch and return the answer; see `Poster.post`."""
        deadline = self._clock() + seconds
        request = httpx.Request(
            "POST",
            self._url,
            headers={
                **headers(token, "application/json, application/problem+json"),
                "Content-Type": CONTENT_TYPE,
            },
            content=body,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)},
        )
        try:
            response = self._transport.handle_request(request)
            try:
                received = self._read(response, deadline)
            finally:
                response.close()
        except FAILURES as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from None
        return answer_of(response, received)

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        received = bytearray()
        for chunk in response.iter_raw():
            received += chunk
            if len(received) >= MOST_BYTES:
                break
            if self._clock() > deadline:
                raise httpx.ReadTimeout("the answer did not end in time")
        return bytes(received[:MOST_BYTES])

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()
