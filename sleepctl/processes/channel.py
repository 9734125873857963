"""A pair of sockets between a parent and one child. Each end asks the other for pages, and answers it."""

import asyncio
import itertools
import socket
from typing import Any, Final, Self

import structlog
from pydantic_core import from_json, to_json

from schemas.http.pages import Page, PageName, Pages, document
from schemas.tasks import end_tasks

_LENGTH_BYTES: Final = 4
_END_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


async def _starting(_: PageName) -> Page:
    return document({"status": "bad", "finding": "starting"}, good=False)


class Channel:
    """One end. A message is its length in four bytes, and JSON. The first one is empty: this end answers from now on.

    Attributes:
        pages: answers the other end.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pages: Pages) -> None:
        self.pages = pages
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count()
        self._asked: dict[int | None, asyncio.Future[Page | None]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._heard = False
        self._send({})

    @classmethod
    async def open(cls, connection: socket.socket, pages: Pages = _starting) -> Self:
        """Return an end over a connected socket, which it closes."""
        return cls(*await asyncio.open_unix_connection(sock=connection), pages)

    async def run(self) -> None:
        """Answer until the other end has closed, or until this is cancelled. Then close."""
        try:
            while (message := await self._receive()) is not None:
                self._heard = True
                if "asks" in message:
                    task = asyncio.create_task(self._answer(message["number"], message["asks"]))
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                elif (asked := self._asked.get(message.get("number"))) is not None and not asked.done():
                    asked.set_result(Page(*message["page"]))
        finally:
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_result(None)
            await end_tasks(self._answering, seconds=_END_SECONDS)
            self._writer.close()

    async def ask(self, name: PageName, seconds: float) -> Page | None:
        """Return a page of the other end; None if it has not begun, has closed, or does not answer in time."""
        if not self._heard or self._writer.is_closing():
            return None
        number = next(self._numbers)
        asked: asyncio.Future[Page | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        try:
            self._send({"number": number, "asks": name})
            async with asyncio.timeout(seconds):
                return await asked
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    async def _answer(self, number: int, name: PageName) -> None:
        try:
            page = await self.pages(name)
        except Exception:
            # Whoever asks then says that this process does not answer.
            log.exception("page_failed", page=name)
        else:
            self._send({"number": number, "page": page})

    def _send(self, message: dict[str, Any]) -> None:
        content = to_json(message)
        self._writer.write(len(content).to_bytes(_LENGTH_BYTES, "big") + content)

    async def _receive(self) -> dict[str, Any] | None:
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            message: dict[str, Any] = from_json(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            return None
        return message
