"""The clients of the stream of states: what waits for each of them, and why it has to end."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, Literal

from api.states.board import Event
from api.streaming.session import CHUNK_BYTES

MOST_WAITING: Final = 100_000
"""Tenants whose event may wait for one client. Each takes about 100 bytes here: the events are those of the list."""

End = Literal["stopping", "slow", "lost"]


class Client:
    """One stream.

    Attributes:
        ended: set once the stream must end, with the reason.
        wake: set when something waits.
    """

    def __init__(self) -> None:
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self.wake = asyncio.Event()
        self._waiting: dict[str, bytes] = {}

    def end(self, reason: End) -> None:
        """Have the stream end; the first reason counts."""
        if not self.ended.done():
            self.ended.set_result(reason)

    @property
    def waiting(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    def put(self, event: Event) -> None:
        """Have an event wait. An earlier one with the same key is replaced, in its place."""
        if len(self._waiting) >= MOST_WAITING and event.key not in self._waiting:
            self.end("slow")
            return
        self._waiting[event.key] = event.body
        self.wake.set()

    def take(self, most: int) -> list[bytes]:
        """Return the oldest events that wait: at most so many, and of about `CHUNK_BYTES` together."""
        taken: list[bytes] = []
        size = 0
        while self._waiting and len(taken) < most and size < CHUNK_BYTES:
            body = self._waiting.pop(next(iter(self._waiting)))
            taken.append(body)
            size += len(body)
        if not self._waiting:
            self.wake.clear()
        return taken


class Audience:
    """All clients, by what they watch."""

    def __init__(self) -> None:
        self._of_all: set[Client] = set()
        self._of_key: defaultdict[str, set[Client]] = defaultdict(set)
        self._keys: dict[Client, list[str]] = {}

    def join(self, client: Client, keys: Iterable[str] | None) -> None:
        """Have a client get the events with these keys from now on, all of them with None."""
        if keys is None:
            self._of_all.add(client)
            return
        self._keys[client] = list(keys)
        for key in self._keys[client]:
            self._of_key[key].add(client)

    def leave(self, client: Client) -> None:
        """Forget a client."""
        self._of_all.discard(client)
        for key in self._keys.pop(client, ()):
            self._of_key[key].discard(client)
            if not self._of_key[key]:
                del self._of_key[key]

    def tell(self, event: Event) -> None:
        """Have an event wait for each client that watches its key."""
        for client in self._of_all:
            client.put(event)
        for client in self._of_key.get(event.key, ()):
            client.put(event)
