"""One stream of events over httpx."""

import ssl
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import httpx

from sleep_client.protocol.answer import Answer
from sleep_client.reading.answers import CONTENT_TYPE, PATH
from sleep_client.runtime.http import FAILURES, MOST_BYTES, NoAnswerError, answer_of, endpoint, headers

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 40.0
"""How long nothing may come. The server sends something every 15 s; its first answer may take 20 s."""


class Opened(NamedTuple):
    """An answer, and the bytes that follow. Of an answer that is no stream, the body is in the answer."""

    answer: Answer
    chunks: AsyncIterator[bytes]


class StreamOpener:
    """Opens streams of states.

    It uses a transport of httpx and no client, as the emitter does. Each stream has a transport of its own, so that its
    end closes the connection.

    Args:
        url: of the API.
        context: how its certificate is checked; None without TLS.
        tenants: those of the stream, None for all.
        transport: makes one in place of that which opens connections.
    """

    def __init__(
        self,
        url: httpx.URL,
        context: ssl.SSLContext | None,
        tenants: Collection[str] | None,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        query = {} if tenants is None else {"tenants": ",".join(sorted(tenants))}
        self._url = endpoint(url, PATH).copy_merge_params(query)
        self._transport = transport or (
            lambda: httpx.AsyncHTTPTransport(
                verify=False if context is None else context, trust_env=False, limits=httpx.Limits(max_connections=1)
            )
        )

    @asynccontextmanager
    async def open(self, token: str, last_id: str) -> AsyncIterator[Opened]:
        """Open a stream for the block.

        Args:
            token: the bearer token.
            last_id: what the stream goes on from, "" for a snapshot.

        Raises:
            NoAnswerError: if there is no answer, or the stream breaks.
        """
        resumed = {"Last-Event-ID": last_id} if last_id else {}
        request = httpx.Request(
            "GET",
            self._url,
            headers={**headers(token, f"{CONTENT_TYPE}, application/problem+json"), **resumed},
            extensions={
                "timeout": {
                    "connect": CONNECT_SECONDS,
                    "pool": CONNECT_SECONDS,
                    "write": CONNECT_SECONDS,
                    "read": READ_SECONDS,
                }
            },
        )
        transport = self._transport()
        try:
            response = await transport.handle_async_request(request)
            try:
                kind = response.headers.get("content-type", "")
                body = b"" if kind.startswith(CONTENT_TYPE) else await _read(response)
                yield Opened(answer_of(response, body), response.aiter_raw())
            finally:
                await response.aclose()
        except FAILURES as error:
            raise NoAnswerError(f"{type(error).__name__}: {error}") from None
        finally:
            await transport.aclose()


async def _read(response: httpx.Response) -> bytes:
    received = bytearray()
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) >= MOST_BYTES:
            break
    return bytes(received[:MOST_BYTES])
