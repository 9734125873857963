"""Streams as HTTP answers: begun, held, and ended for whatever reason comes first."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

from api.clock import Clock
from api.describe.problems import ProblemError
from api.operate.dependency import UnavailableError
from api.operate.metrics import Metrics
from api.read.store import Store
from api.read.views import Reads
from api.stream import sse
from api.stream.catchup import Catchup
from api.stream.feed import Feed, Listener
from api.stream.response import Session

ABORT: Final = "sleep.abort"
"""ASGI extension of our server: closes the connection at once, with what is still to be sent."""
HEADERS: Final = (
    (b"content-type", sse.MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)

MOST_STREAMS: Final = 4_000
"""Streams of one process; each takes about 100 KiB and a file descriptor."""
MOST_OF_TENANT: Final = 1_000
"""Of these, those of one tenant, or of all tenants' transitions."""

log = structlog.get_logger(__name__)


class Pace(NamedTuple):
    """How long things may take, in seconds: between heartbeats, for one send, and for the end of a stream."""

    heartbeat: float = 15.0
    send: float = 10.0
    finish: float = 0.5


class _SlowError(Exception):
    """The client does not read."""


class EventStream(Response):
    """An answer that goes on until the client leaves or is too slow, its token expires, or the process stops."""

    media_type = sse.MEDIA_TYPE

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        session: Session,
        feed: Feed,
        metrics: Metrics,
        clock: Clock,
        pace: Pace,
        *,
        expires_at: int,
        held: Counter[str | None],
        tenant: str | None,
    ) -> None:
        super().__init__()
        self._held = held
        self._tenant = tenant
        self._session = session
        self._feed = feed
        self._metrics = metrics
        self._clock = clock
        self._pace = pace
        self._expires_at = expires_at
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream.

        Raises:
            UnavailableError: if it cannot begin; nothing was sent then.
        """
        self._held[self._tenant] += 1
        try:
            with self._feed.listener() as listener:
                reason = await self._hold(listener, receive, send)
        finally:
            self._held[self._tenant] -= 1
            self._held += Counter()  # forgets whoever holds none
        self._metrics.stream_ended(reason)
        scope["sleep.facts"]["ended"] = reason
        if reason != "left":
            await self._finish(receive, send, scope.get("extensions", {}).get(ABORT))

    async def _hold(self, listener: Listener, receive: Receive, send: Send) -> str:
        """Send until there is a reason to end; return it."""
        serving = asyncio.create_task(self._serve(listener, send))
        leaving = asyncio.create_task(_left(receive))
        waited: set[asyncio.Future[Any]] = {serving, leaving, listener.ended}
        try:
            left = (self._expires_at - self._clock()) / 1000
            await asyncio.wait(waited, timeout=max(left, 0), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                return "left"
            if listener.ended.done():
                return listener.ended.result()
            if not serving.done():
                return "expired"
            try:
                await serving
            except _SlowError:
                return "slow"
            except UnavailableError as error:
                if not self._started:
                    raise
                log.warning("stream_broken", dependency=error.dependency, error=error.finding)
                return "lost"
            raise AssertionError("a stream ends by an error or from outside")
        finally:
            for task in (serving, leaving):
                task.cancel()
            await asyncio.gather(serving, leaving, return_exceptions=True)

    async def _serve(self, listener: Listener, send: Send) -> None:
        async with aclosing(self._session.chunks(listener, self._pace.heartbeat)) as chunks:
            async for chunk in chunks:
                try:
                    async with asyncio.timeout(self._pace.send):
                        await self._start(send)
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                except TimeoutError:
                    raise _SlowError from None

    async def _start(self, send: Send) -> None:
        if not self._started:
            await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
            self._started = True

    async def _finish(self, receive: Receive, send: Send, abort: Callable[[], None] | None) -> None:
        """End the answer; a client that does not take even that is cut off, and goes on from its last id."""
        try:
            async with asyncio.timeout(self._pace.finish):
                await self._start(send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            if abort is not None:
                abort()
                # Only then has the server noticed, and asks no more for the end of the answer.
                await _left(receive)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Streams:
    """Makes the streams of one process."""

    def __init__(
        self,
        feed: Feed,
        catchup: Catchup,
        reads: Reads,
        store: Store,
        metrics: Metrics,
        clock: Clock,
        pace: Pace = Pace(),  # noqa: B008 - a value
    ) -> None:
        self._feed = feed
        self._catchup = catchup
        self._reads = reads
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._pace = pace
        self._held: Counter[str | None] = Counter()

    def open(self, tenant: str | None, last_id: str | None, expires_at: int) -> EventStream:
        """Return the answer that is a stream.

        Args:
            tenant: whose transitions, None for everybody's.
            last_id: the id that the client has, if it goes on.
            expires_at: when the client's token ends, and so the stream; milliseconds.

        Raises:
            ProblemError: `too_many_streams`.
        """
        if self._held[tenant] >= MOST_OF_TENANT or self._held.total() >= MOST_STREAMS:
            detail = f"{self._held[tenant]} are open for the same, {self._held.total()} in this process; close some"
            raise ProblemError("too_many_streams", detail, headers={"Retry-After": "5"})
        session = Session(self._feed, self._catchup, self._reads, self._store, tenant=tenant, last_id=last_id)
        return EventStream(
            session,
            self._feed,
            self._metrics,
            self._clock,
            self._pace,
            expires_at=expires_at,
            held=self._held,
            tenant=tenant,
        )
