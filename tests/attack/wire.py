"""HTTP as bytes: what no client library would send."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, cast
from urllib.parse import urlsplit

BROKEN: Final = 0
"""The status of an exchange without an answer."""
_STATUS_AT: Final = slice(9, 12)
_CHUNK: Final = 65_536
# A server that takes nothing for so long has stopped reading: that is a bound that works.
_STALLED_SECONDS: Final = 2.0


def request(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: api"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def bearer(token: str, **headers: str) -> dict[str, str]:
    """Return headers with a token, for JSON."""
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}


@asynccontextmanager
async def connected(
    url: str, receive_bytes: int = 0, address: str = ""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection; with a small `receive_bytes` its kernel takes little that is not read.

    Args:
        url: of the server.
        receive_bytes: how much the kernel is asked to take; 0 leaves that to it.
        address: where the connection comes from, any of 127.0.0.0/8.
    """
    where = urlsplit(url)
    connection = socket.socket()
    connection.setblocking(False)  # noqa: FBT003 - the standard library's
    if address:
        connection.bind((address, 0))
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(connection, (str(where.hostname), int(where.port or 80)))
    reader, writer = await asyncio.open_connection(sock=connection, limit=_CHUNK)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(url: str, raw: bytes, seconds: float = 20.0, address: str = "") -> int:
    """Send a request on a connection of its own, and return the answer's status."""
    try:
        async with asyncio.timeout(seconds), connected(url, address=address) as (reader, writer):
            writer.write(raw)
            return status_of(await reader.readline())
    except (OSError, TimeoutError):
        return BROKEN


async def answer(url: str, raw: bytes, seconds: float = 20.0, address: str = "") -> bytes:
    """Send a request that ends its connection, on a connection of its own, and return the whole answer."""
    try:
        async with asyncio.timeout(seconds), connected(url, address=address) as (reader, writer):
            writer.write(raw)
            return await reader.read(-1)
    except (OSError, TimeoutError):
        return b""


def status_of(line: bytes) -> int:
    """Return the status in an answer's first line."""
    return int(line[_STATUS_AT]) if line.startswith(b"HTTP/1.1 ") else BROKEN


async def ask_all(url: str, raws: Sequence[bytes], seconds: float = 60.0) -> Counter[int]:
    """Send every request at the same time, each on a connection that was there before, and count the statuses."""
    ready, go = 0, asyncio.Event()

    async def one(raw: bytes) -> int:
        nonlocal ready
        try:
            async with asyncio.timeout(seconds), connected(url) as (reader, writer):
                ready += 1
                if ready == len(raws):
                    go.set()
                await go.wait()
                writer.write(raw)
                return status_of(await reader.readline())
        except (OSError, TimeoutError):
            return BROKEN

    return Counter(await asyncio.gather(*map(one, raws)))


async def pipeline(
    url: str, raw: bytes, *, first: bytes = b"", most_bytes: int = 12_000_000, seconds: float = 8.0, reads: bool
) -> int:
    """Repeat a request on one connection without waiting for answers, and return the bytes that were taken.

    Args:
        url: of the server.
        raw: the request that is repeated.
        first: sent before it.
        most_bytes: how much is sent.
        seconds: for how long.
        reads: whether answers are read.
    """
    chunk = raw * max(_CHUNK // len(raw), 1)
    sent, began = 0, time.monotonic()
    async with connected(url, 0 if reads else 4_096) as (reader, writer):
        reading = asyncio.create_task(_drain(reader)) if reads else None
        writer.write(first)
        try:
            with suppress(OSError, TimeoutError):
                while sent < most_bytes and time.monotonic() - began < seconds:
                    writer.write(chunk)
                    async with asyncio.timeout(_STALLED_SECONDS):
                        await writer.drain()
                    sent += len(chunk)
                await asyncio.sleep(1)
        finally:
            if reading is not None:
                reading.cancel()
    return sent


async def _drain(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(_CHUNK):
            pass


async def hold(
    url: str,
    raws: Sequence[bytes],
    seconds: float,
    addresses: Sequence[str] = ("",),
    ready: asyncio.Event | None = None,
) -> None:
    """Send the beginnings of requests, each on a connection of its own, and hold the connections for so long.

    Args:
        url: of the server.
        raws: the beginnings.
        seconds: for how long, from when the last one was sent.
        addresses: where the connections come from, in turn.
        ready: set once all were sent.
    """
    all_sent, left = ready or asyncio.Event(), set(range(len(raws)))

    def sent(number: int) -> None:
        left.discard(number)
        if not left:
            all_sent.set()

    async def one(number: int, raw: bytes) -> None:
        try:
            async with connected(url, address=addresses[number % len(addresses)]) as (_, writer):
                writer.write(raw)
                sent(number)
                await all_sent.wait()
                await asyncio.sleep(seconds)
        except OSError:
            sent(number)

    await asyncio.gather(*(one(number, raw) for number, raw in enumerate(raws)))


async def unread(url: str, raw: bytes, connections: int, seconds: float = 4.0) -> None:
    """Ask on many connections and read nothing."""

    async def one() -> None:
        with suppress(OSError):
            async with connected(url, 4_096) as (_, writer):
                cast("asyncio.Transport", writer.transport).pause_reading()
                writer.write(raw)
                await asyncio.sleep(seconds)

    await asyncio.gather(*(one() for _ in range(connections)))
