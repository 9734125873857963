"""Server-sent events from the API, over connections that are made again after each loss."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from schemas.backoff import Backoff
from sleepctl.io.api_client import Answer, ApiClient, NoAnswerError
from sleepctl.ui.errors import CommandError

SILENT_SECONDS: Final = 35.0
"""How long a stream may be silent. The API sends something every 15 s, so a longer silence is a lost connection."""
_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
Pause = Callable[[float], Awaitable[None]]


class Event(NamedTuple):
    """An event of the stream: its name, and its data as JSON."""

    name: str
    data: Any


class Lost(NamedTuple):
    """The connection is lost, or could not be made: nothing is live until the next event.

    Attributes:
        reason: for people.
        seconds: until the next attempt.
    """

    reason: str
    seconds: float


class EventStream:
    """The events of one stream, over as many connections as it takes.

    Args:
        client: of the API.
        path: of the stream.
        pause: sleeps that many seconds.
        chance: draws the jitter of waits.

    Attributes:
        last_id: the id of the last event that had one, with which the next connection resumes.
    """

    def __init__(
        self,
        client: ApiClient,
        path: str,
        pause: Pause = asyncio.sleep,
        chance: random.Random | None = None,
    ) -> None:
        self.last_id = ""
        self._client = client
        self._path = path
        self._pause = pause
        self._backoff = Backoff(chance or random.SystemRandom(), 1.0)

    async def events(self) -> AsyncGenerator[Event | Lost, None]:
        """Yield what comes, for ever, and each loss of the connection as soon as it is noticed.

        Raises:
            CommandError: if the API refuses the stream for good: a wrong token, a missing scope, a wrong parameter.
        """
        first = True
        while True:
            wait = 0.0
            try:
                async for event in self._connection():
                    if isinstance(event, Answer):
                        reason, wait = _refusal(event)
                        break
                    first = False
                    self._backoff.reset()
                    yield event
                else:
                    reason = "the API ended the stream"
            except NoAnswerError as error:
                if first:
                    raise
                reason = str(error)
            seconds = max(self._backoff.next(), wait)
            yield Lost(reason, seconds)
            await self._pause(seconds)

    async def _connection(self) -> AsyncIterator[Event | Answer]:
        """Yield the events of one connection, or the answer that refuses it."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": self.last_id} if self.last_id else {})
        async with self._client.stream(self._path, headers, SILENT_SECONDS) as lines:
            if isinstance(lines, Answer):
                yield lines
                return
            name, data, identifier = "", list[str](), None
            async for line in lines:
                if not line:
                    if identifier is not None:
                        self.last_id = identifier
                    if name:
                        yield Event(name, _document(data))
                    name, data, identifier = "", [], None
                    continue
                field, _, text = line.partition(":")
                text = text.removeprefix(" ")
                match field:
                    case "event":
                        name = text
                    case "data":
                        data.append(text)
                    case "id":
                        identifier = text
                    case _:
                        # A comment, the time to wait, or what a newer API sends.
                        pass


def _document(data: list[str]) -> Any:  # noqa: ANN401 - any JSON
    try:
        return from_json("\n".join(data))
    except ValueError:
        raise CommandError("the stream holds an event that is not JSON: is it the API?") from None


def _refusal(answer: Answer) -> tuple[str, float]:
    """Return why there is no stream at present, and how long the API wants a client to wait, in seconds.

    Raises:
        CommandError: if it is no use to try again, such as with a token that has ended.
    """
    if answer.status not in _AGAIN:
        raise CommandError(answer.problem())
    wait = answer.headers.get("retry-after", "")
    return answer.problem().partition("\n")[0], float(wait) if wait.isdecimal() else 0.0
