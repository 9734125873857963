"""A server that streams states to readers, without sockets; and the events that it sends."""

import asyncio
import threading
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from queue import SimpleQueue
from typing import Any, Final

import httpx
from pydantic_core import to_json

from docs.generator.reader_records import DEFAULTS, RULES, record_of
from schemas.domain.record import Record
from schemas.wire.tenant_view import state_record

T: Final = 1_795_334_400_000
LIMIT_SECONDS: Final = 20.0
"""Ends a test that hangs; nothing here waits for so long."""
DEFAULT: Final = DEFAULTS[0].as_json()


def event(name: str, data: object, id_: str | None = None) -> bytes:
    """Return an event."""
    line = b"" if id_ is None else b"id: %s\n" % id_.encode()
    return line + b"event: %s\ndata: %s\n\n" % (name.encode(), to_json(data))


def rules(number: int = 0, offset: int | None = None) -> bytes:
    """Return the rules of the only partition."""
    position = None if offset is None else f"0:{offset}"
    active = DEFAULTS[number].as_json()
    return event("rules", {"partition": 0, "partitions": 1, "number": number, "position": position, "active": active})


def state(tenant: str, record: Record | None = None) -> bytes:
    """Return the state of a tenant: by default one whose breaker opened at `T`, with a lease of 900 s."""
    record = record_of("one breaker") if record is None else record
    document = state_record(tenant, 0, record, RULES[record.rules_number].terms_for(record.policy))
    return event("state", document)


def ready(now: int = T, id_: str = "7") -> bytes:
    """Return the end of a snapshot."""
    return event("ready", {"now": now}, id_)


def snapshot(*tenants: str, now: int = T, id_: str = "7") -> bytes:
    """Return a snapshot in which these tenants are frozen."""
    return rules() + b"".join(state(tenant) for tenant in tenants) + ready(now, id_)


def token(exp: float, name: str = "reader") -> str:
    """Return a token that ends at a time, in seconds since the epoch."""
    parts = [urlsafe_b64encode(to_json(part)).decode().rstrip("=") for part in ({}, {"exp": exp, "sub": name})]
    return ".".join([*parts, "signature"])


class Stream(httpx.AsyncByteStream):
    """The bytes of one answer, which a test sends."""

    def __init__(self, request: httpx.Request) -> None:
        self.request = request
        self.closed = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    def send(self, data: bytes | Exception | None) -> None:
        """Send bytes, break with an error, or end."""
        self._loop.call_soon_threadsafe(self._queue.put_nowait, data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await self._queue.get()) is not None:
            if isinstance(data, Exception):
                raise data
            yield data

    async def aclose(self) -> None:
        self.closed.set()

    @property
    def last_id(self) -> str | None:
        """The id from which the reader goes on."""
        value: str | None = self.request.headers.get("last-event-id")
        return value


class StatesServer:
    """Answers with streams, or with what a test says."""

    def __init__(self) -> None:
        self.streams: SimpleQueue[Stream] = SimpleQueue()
        self.answers: SimpleQueue[Callable[[], httpx.Response]] = SimpleQueue()

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport to this server."""
        return httpx.MockTransport(self._handle)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        if not self.answers.empty():
            return self.answers.get()()
        stream = Stream(request)
        self.streams.put(stream)
        return httpx.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, stream=stream)

    def next(self) -> Stream:
        """Return the next stream, once it is opened."""
        return self.streams.get(timeout=LIMIT_SECONDS)

    async def next_async(self) -> Stream:
        """Return the same, in the loop of the reader."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.streams.empty():
                await asyncio.sleep(0)
        return self.streams.get()

    def refuse(self, status: int, document: dict[str, Any], headers: dict[str, str]) -> None:
        """Answer the next request with a problem."""
        body = httpx.ByteStream(to_json(document))
        self.answers.put(lambda: httpx.Response(status, headers=headers, stream=body))


def join_token_threads() -> None:
    """Wait for the end of the threads that have called functions of tokens: it comes a moment after their answer."""
    for thread in threading.enumerate():
        if thread.name == "sleep-token":
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive()


def after_changes(changes: SimpleQueue[Any], condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, which one of the changes that come makes true."""
    while not condition():
        changes.get(timeout=LIMIT_SECONDS)
