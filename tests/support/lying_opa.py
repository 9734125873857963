"""An OPA server whose answers come too often, too early, too late, or cut off."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

QUESTIONS = 60
Lie = Callable[[asyncio.StreamWriter, bytes, int], Awaitable[None]]


def _http(body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


YES = _http(b'{"result": {"allow": true, "reasons": []}}')


class LyingOpa:
    """Answers truly, and lies beside it.

    Attributes:
        connections: how many were opened.
        echoes: whether the policy echoes a nonce.
    """

    def __init__(self, lie: Lie, *, echoes: bool, every: int = 1) -> None:
        self.connections = 0
        self._lie = lie
        self.echoes = echoes
        self._every = every
        self._asked = 0
        self._open: dict[asyncio.Task[Any] | None, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[asyncio.current_task()] = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                question = json.loads(await reader.readexactly(int(length.split(b":")[1])))["input"]
                result: dict[str, Any] = {"allow": question["subject"] == "yes", "reasons": ["no"]}
                if self.echoes and "nonce" in question:
                    result["nonce"] = question["nonce"]
                answer = _http(json.dumps({"result": result}).encode())
                self._asked += 1
                if self._asked % self._every:
                    writer.write(answer)
                else:
                    await self._lie(writer, answer, self._asked)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            del self._open[asyncio.current_task()]

    async def end(self) -> None:
        """Close every connection."""
        while self._open:
            for writer in self._open.values():
                writer.transport.abort()
            await asyncio.sleep(0.001)


async def _twice(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    writer.write(answer + YES)


async def _once_more(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    writer.write(answer)
    await writer.drain()
    await asyncio.sleep(0.001)
    writer.write(YES)


async def _much_later(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    writer.write(answer)
    asyncio.get_running_loop().call_later(0.01, writer.write, YES)


async def _first_another(writer: asyncio.StreamWriter, answer: bytes, asked: int) -> None:
    """Answer with another policy's answer first; a connection of its own cannot tell, an echo can."""
    writer.write((YES if asked > 2 else b"") + answer)


async def _after_the_timeout(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    await asyncio.sleep(0.05)
    writer.write(YES + answer)


async def _too_short(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    head, _between, body = answer.partition(b"\r\n\r\n")
    writer.write(head.replace(str(len(body)).encode(), b"7") + b"\r\n\r\n" + body)


async def _too_long(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    head, _between, body = answer.partition(b"\r\n\r\n")
    writer.write(head.replace(str(len(body)).encode(), str(len(body) + 9).encode()) + b"\r\n\r\n" + body + YES)
    writer.write_eof()


async def _chunked_garbage(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    body = answer.partition(b"\r\n\r\n")[2]
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\nzz\r\n" % (len(body), body) + YES)


async def _continued(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + answer)


async def _and_close(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:
    writer.write(answer)
    writer.close()


async def _silently_close(writer: asyncio.StreamWriter, answer: bytes, _: int) -> None:  # noqa: ARG001
    writer.close()


LIES = (
    *(_twice, _once_more, _much_later, _after_the_timeout, _too_short, _too_long, _chunked_garbage),
    *(_continued, _and_close, _silently_close),
)
