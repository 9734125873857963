"""HTTP/1.1 to the OPA server. Each answer provably belongs to its question.

On a reused connection, one answer too many would shift all later answers, and a denial could become a permission. So a
connection is reused only if the policy echoes the question's nonce, which proves that the answer belongs to it. With
any other policy each question gets a connection of its own. See docs/decisions/0020-verified-reports.md.
"""

import asyncio
import base64
import json
import re
import secrets
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import certifi
from pydantic_core import from_json

from api.errors.base import ApiError
from api.security.opa_connection import InvalidAnswerError, OpaConnection
from schemas.tls import context_for

CONNECTIONS: Final = 64
"""Concurrent connections to the OPA server. A decision takes about a millisecond, so hundreds of callers share them."""
_IDLE_SECONDS: Final = 30.0
_PORTS: Final = {"http": 80, "https": 443}
_VISIBLE_ASCII: Final = re.compile(r"[!-~]+\Z")
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class NoEchoError(ApiError):
    """The answer does not hold the question's nonce: it may be the answer to another question."""


Connect = Callable[[], Awaitable[OpaConnection]]


class OpaClient:
    """Asks one endpoint, over at most `CONNECTIONS` connections at once.

    Args:
        url: the endpoint. A name and a password in it are sent as basic authentication.
        connect: opens a connection, by default over TCP, and TLS for `https`.

    Raises:
        CertificateError: if the authorities that the environment names cannot be used.
        ValueError: if the URL is not an HTTP one.
    """

    def __init__(self, url: str, connect: Connect | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("the URL of OPA must begin with http:// or https:// and name a host")
        self._host, self._port = parts.hostname, parts.port or _PORTS[parts.scheme]
        self._ssl: ssl.SSLContext | None = context_for(url, certifi.where()) if parts.scheme == "https" else None
        self._head = _head(parts)
        self._connect = connect or self._open
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._idle: deque[OpaConnection] = deque()

    async def ask(self, question: dict[str, Any], *, echoed: bool) -> dict[str, Any]:
        """Ask about an input, and return the answer's document.

        Args:
            question: the policy's `input`.
            echoed: whether the policy echoes `input.nonce`; then the connection is reused.

        Raises:
            OSError: if the server cannot be reached.
            InvalidAnswerError: if the answer is invalid.
            NoEchoError: if the answer does not echo the nonce.
            ValueError: if the question or the answer is not JSON.
        """
        async with self._slots:
            return await (self._ask_with_nonce(question) if echoed else self._ask_alone(question))

    async def _ask_alone(self, question: dict[str, Any]) -> dict[str, Any]:
        """Ask on a separate connection. More than one answer is an error: it is unknown which one is right."""
        body = _body(question)
        connection = await self._connect()
        try:
            answer = await connection.ask(_request(self._head + b"Connection: close\r\n", body))
            if connection.more:
                raise InvalidAnswerError("it sent more than one answer")
        finally:
            connection.close()
        return _document(answer)

    async def _ask_with_nonce(self, question: dict[str, Any]) -> dict[str, Any]:
        nonce = secrets.token_hex(8)
        request = _request(self._head, _body({**question, "nonce": nonce}))
        while True:
            idle = self._take()
            connection = idle or await self._connect()
            reusable = False
            try:
                answer = _document(await connection.ask(request))
                result = answer.get("result")
                if not isinstance(result, dict) or result.get("nonce") != nonce:
                    raise NoEchoError("its answer does not hold the question's nonce")
                reusable = connection.reusable
            except ConnectionError:
                # A server may close an idle connection at any time; a question may be asked twice.
                if idle is None:
                    raise
                continue
            finally:
                if not reusable:
                    connection.close()
            self._idle.append(connection)
            return answer

    def _take(self) -> OpaConnection | None:
        """Return the idle connection that was used last and is still quiet. Close those that are old or lost."""
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._idle and self._idle[0].used_at < oldest:
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.quiet:
                return connection
            connection.close()
        return None

    async def _open(self) -> OpaConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(OpaConnection, self._host, self._port, ssl=self._ssl)
        return connection

    async def aclose(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop().close()


def _head(url: SplitResult) -> bytes:
    """Return the head of every request, but for `Content-Length`.

    Raises:
        ValueError: if the URL has a character that no head may hold.
    """
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = url.netloc.rpartition("@")[2]
    if not _VISIBLE_ASCII.match(target + host):
        raise ValueError("the URL of OPA must be in ASCII, without spaces")
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        "Accept: application/json",
        "Accept-Encoding: identity",
    ]
    if url.username is not None:
        credentials = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
        lines.append(f"Authorization: Basic {base64.b64encode(credentials).decode()}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _request(head: bytes, body: bytes) -> bytes:
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def _body(question: dict[str, Any]) -> bytes:
    # NaN and half a surrogate pair are not JSON: each raises ValueError.
    return _ENCODE({"input": question}).encode()


def _document(answer: bytes) -> dict[str, Any]:
    document = from_json(answer)
    return document if isinstance(document, dict) else {}
