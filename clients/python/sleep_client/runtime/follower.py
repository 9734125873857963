"""The tasks of a reader: they do what its session decides, in one event loop."""

import asyncio
from collections.abc import Callable
from typing import Final

from sleep_client.reading.answers import Meaning, Verdict, judge
from sleep_client.reading.errors import BadStreamError
from sleep_client.reading.session import Connect, Link, Session
from sleep_client.runtime.http import NoAnswerError
from sleep_client.runtime.log import without_token, write
from sleep_client.runtime.stream import StreamOpener
from sleep_client.runtime.tokens import NoTokenError, TokenFunction, fetch

_LONGEST_PAUSE: Final = 30.0
"""A wait does not count the time for which the machine is suspended, and the clock does."""
_ENDED: Final = "the server ended the stream"
_OTHER: Final = "is it a server of another version? then upgrade sleep_client"


class Follower:
    """Keeps a stream open.

    Args:
        session: decides what is done.
        opener: opens streams.
        token: the token, or a function that returns one.
        clock: the time, in seconds.
        changed: called after something has changed.
    """

    def __init__(
        self,
        session: Session,
        opener: StreamOpener,
        token: str | TokenFunction,
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._session = session
        self._opener = opener
        self._token = token
        self._clock = clock
        self._changed = changed
        self._tasks: dict[Link, asyncio.Task[None]] = {}
        self._bell = asyncio.Event()
        self._sent_token = ""

    def stop(self) -> None:
        """End `run`; to be called in its loop."""
        self._session.close()
        self._bell.set()

    async def run(self) -> None:
        """Follow the stream until `stop`."""
        try:
            while (step := self._session.next(self._clock())) is not None:
                self._bell.clear()
                self._report()
                if isinstance(step, Connect):
                    link = self._session.connect(self._clock())
                    self._tasks[link] = asyncio.create_task(self._follow(link))
                else:
                    await self._wait(min(step.seconds, _LONGEST_PAUSE))
        finally:
            self._session.close()
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._report()

    async def _wait(self, seconds: float) -> None:
        waiting = asyncio.create_task(self._bell.wait())
        try:
            await asyncio.wait({waiting}, timeout=seconds)
        finally:
            waiting.cancel()

    async def _follow(self, link: Link) -> None:
        try:
            verdict = await self._receive(link)
        except (NoAnswerError, NoTokenError) as error:
            verdict = Verdict(Meaning.LATER, str(error))
        except BadStreamError as error:
            verdict = Verdict(Meaning.CONTENT, f"the stream cannot be understood: {error}; {_OTHER}")
        except Exception as error:  # noqa: BLE001 - a task that ends unseen would leave the reader without a stream
            verdict = Verdict(Meaning.LATER, f"an error of this library: {type(error).__name__}: {error}")
        finally:
            del self._tasks[link]
        # It is in errors, too. A server or a proxy may show the headers of a request in its answer.
        shown = verdict._replace(finding=without_token(verdict.finding, self._sent_token))
        self._session.ended(link, shown, self._clock())
        self._bell.set()

    async def _receive(self, link: Link) -> Verdict:
        token = await fetch(self._token)
        self._sent_token = token
        self._session.authorised(link, token)
        async with self._opener.open(token, link.intake.last_id) as opened:
            verdict = judge(opened.answer)
            if verdict.meaning is not Meaning.ACCEPTED:
                return verdict
            async for chunk in opened.chunks:
                status = self._session.status
                superseded = self._session.take(link, chunk, self._clock())
                if superseded is not None and (task := self._tasks.get(superseded)) is not None:
                    task.cancel()
                self._report()
                if self._session.status is not status or superseded is not None:
                    self._bell.set()  # When the token is to be renewed is known now.
        return Verdict(Meaning.LATER, _ENDED)

    def _report(self) -> None:
        """Log what is to be logged, and tell of changes."""
        write(self._session.notices(), self._sent_token)
        self._changed()
