"""Clients of the event streams at the ASGI boundary."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from schemas.http.protocol import ABORT
from tests.support.sse import Event, parse_block
from tests.support.tokens import token
from tests.unit.api.application import ApiOverFakes

URL = "/api/brain/sleep_events"
ALL = "/api/tenants/events"
STATES = "/api/states/events"


class Connection:
    """A client at the ASGI boundary, which may stop reading, or leave."""

    def __init__(self, url: str, headers: dict[str, str], query: str = "") -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": url,
            "raw_path": url.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
            "extensions": {ABORT: self._abort},
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = self.aborted = False
        self.reads = asyncio.Event()
        self.reads.set()
        self._came = asyncio.Event()
        self._gone = asyncio.Event()

    def _abort(self) -> None:
        self.aborted = True
        self._gone.set()

    def leave(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def receive(self) -> dict[str, Any]:
        """Nothing comes from the client but its leaving."""
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a message, as soon as the client reads."""
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): text.decode() for name, text in message["headers"]}
        else:
            self.body += message["body"]
            self.complete = not message.get("more_body", False)
        self._came.set()

    async def until(self, name: str, count: int = 1) -> list[Event]:
        """Wait for so many matching of a name; return them."""
        async with asyncio.timeout(5):
            while True:
                matching = [event for event in self.events if event.name == name]
                if len(matching) >= count:
                    return matching
                self._came.clear()
                await self._came.wait()

    @property
    def events(self) -> list[Event]:
        """What came until now."""
        return [parse_block(block) for block in self.body.decode().split("\n\n")[:-1]]


class Host:
    """The application, and connections to it."""

    def __init__(self, api: ApiOverFakes) -> None:
        self.api = api
        self.app = api.app

    @asynccontextmanager
    async def connect(
        self, url: str = URL, *, query: str = "", **headers: str
    ) -> AsyncIterator[tuple[Connection, "asyncio.Task[None]"]]:
        """Connect, and see at the end that nothing is left of it."""
        connection = Connection(url, {"Authorization": f"Bearer {token()}"} | headers, query)
        served = asyncio.create_task(self.app(connection.scope, connection.receive, connection.send))
        try:
            yield connection, served
        finally:
            connection.leave()
            connection.reads.set()
            async with asyncio.timeout(5):
                await served

    def ended(self, reason: str) -> bool:
        """Tell whether one stream ended for this reason, and none is open."""
        text = self.api.services.metrics.render().decode()
        return f'sleep_api_streams_ended_total{{reason="{reason}"}} 1.0' in text and "sleep_api_streams 0.0" in text
