"""A keep-alive connection to the API that costs little: a fuller client would take the cores that the server needs."""

import asyncio
import json
from typing import Any, Self


class Caller:
    """One caller of the API, one request after the other.

    Attributes:
        answer: the body of the last answer.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._reader = reader
        self._writer = writer
        self._token = token
        self.answer = b""

    @classmethod
    async def connect(cls, port: int, token: str) -> Self:
        """Connect to the API on loopback."""
        return cls(*await asyncio.open_connection("127.0.0.1", port), token)

    async def get(self, path: str) -> int:
        """Read a page; return the status of the answer."""
        return await self._call(f"GET {path}", "", "")

    async def post(self, path: str, content: dict[str, Any] | list[Any], media: str = "application/json") -> int:
        """Post JSON; return the status of the answer."""
        body = json.dumps(content)
        return await self._call(f"POST {path}", f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n", body)

    async def mode(self, target: str, ttl_seconds: float | None = None) -> int:
        """Set the tenant's mode; return the status of the answer."""
        content: dict[str, Any] = {"target_state": target}
        if ttl_seconds is not None:
            content["ttl_seconds"] = ttl_seconds
        return await self.post("/api/brain/sleep_mode", content)

    async def _call(self, line: str, fields: str, body: str) -> int:
        head = f"{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self._token}\r\n{fields}\r\n"
        self._writer.write((head + body).encode())
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answer.split("content-length:")[1].split("\r\n")[0])
        self.answer = await self._reader.readexactly(length)
        return int(answer.split(" ", 2)[1])

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()
