"""Answers under way: how many bytes were built for clients that have not taken them, each client's and in all.

Bytes count from when an answer's length is known until the kernel has taken the last of them. What the kernel holds of
each connection is bounded by itself.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from typing import Final

import structlog
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

from schemas.http.early_answers import OVERLOADED, TOO_MANY_UNREAD, EarlyAnswer

CLIENT_BYTES: Final = 8 << 20
"""How many bytes may be under way to one client: a dozen of the largest pages, where two at once are many."""
ALL_BYTES: Final = 64 << 20
"""How many may be under way in one process: an eighth of the memory limit of 512 MiB that both processes live with."""
RETRY_SECONDS: Final = 5
"""When a refused client may try again."""
SMALL_BYTES: Final = 16_384
"""Answers up to this size are always given once they are built: that of a command is never longer."""
_IPV6_BITS: Final = 64
"""One client has at least that network to itself, with as many addresses as it likes."""

log = structlog.get_logger(__name__)


def client_of(address: tuple[str, int] | None) -> str:
    """Return whom a connection counts for: its IPv4 address, its /64 of IPv6, or `""` where it has no address."""
    if address is None:
        return ""
    host = address[0].partition("%")[0]
    if ":" not in host:
        return host
    try:
        client = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    if client.ipv4_mapped is not None:
        return str(client.ipv4_mapped)
    return str(ipaddress.ip_network((client, _IPV6_BITS), strict=False))


class Answers:
    """The bytes under way from one server.

    Args:
        client_bytes: how many one client may have.
        all_bytes: how many there may be in all.
    """

    def __init__(self, client_bytes: int = CLIENT_BYTES, all_bytes: int = ALL_BYTES) -> None:
        self._client_bytes = client_bytes
        self._all_bytes = all_bytes
        self._of: Counter[str] = Counter()
        self._refused: set[str] = set()
        self.total = 0

    def of(self, client: str) -> int:
        """Return how many bytes are under way to a client."""
        return self._of[client]

    def early_answer(self, client: str) -> tuple[EarlyAnswer, str] | None:
        """Return why a client gets no further answer now, with a detail; None where it does.

        The answer that reaches a bound is still given, so that the bound is passed by one answer at the most.

        Args:
            client: from `client_of`.
        """
        mine = self._of[client]
        if mine >= self._client_bytes:
            self._say(client)
            return TOO_MANY_UNREAD, f"{mine} bytes of answers to your address are unread; read them, then try again"
        if self.total >= self._all_bytes:
            self._say(client)
            return OVERLOADED, f"{self.total} bytes of answers are unread by their clients; try again"
        return None

    def change(self, client: str, by: int) -> None:
        """Note that more or fewer bytes are under way to a client."""
        self.total += by
        self._of[client] += by
        if not self._of[client]:
            del self._of[client]
            self._refused.discard(client)

    def _say(self, client: str) -> None:
        """Log an early answer, once until the client has taken its answers."""
        if client not in self._refused:
            if self._of[client]:
                self._refused.add(client)
            log.warning("answers_unread", client=client, of_client=self._of[client], in_all=self.total)


class Account:
    """What of `Answers` one connection has; at most one answer at a time."""

    def __init__(self, answers: Answers, client: str) -> None:
        self._answers = answers
        self._client = client
        self._bytes = 0
        self._closed = False

    def close(self) -> None:
        """Note that the connection is lost: nothing is under way on it any more."""
        self.set(0)
        self._closed = True

    def set(self, size: int) -> None:
        """Note how many bytes are under way on the connection."""
        if size == self._bytes or self._closed:
            return
        self._answers.change(self._client, size - self._bytes)
        self._bytes = size

    def early_answer(self) -> tuple[EarlyAnswer, str] | None:
        """Return why the client gets no further answer now, with a detail; None where it does."""
        return self._answers.early_answer(self._client)


def length_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return how long a body will be; 0 where its head does not say so, as of a stream."""
    for name, value in headers:
        if name.lower() == b"content-length":
            return int(value)
    return 0


def answering(early: EarlyAnswer, detail: str) -> ASGI3Application:
    """Return an application that gives this answer, and builds nothing."""

    async def answer(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        headers, body = early.message(detail, RETRY_SECONDS)
        await send({"type": "http.response.start", "status": early.status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return answer
