"""Streams as HTTP responses: how they start, and the reasons for which they end."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

from api.adapters.dependency import UnavailableError
from api.adapters.redis_store import Store
from api.errors.base import ApiError
from api.errors.problems import ProblemError
from api.http.head import HEAD_ONLY
from api.observability.metrics import Metrics
from api.queries.tenant import Reads
from api.security.rate_limits import Payer
from api.streaming import sse
from api.streaming.catchup import Catchup
from api.streaming.feed import Feed, Listener
from api.streaming.session import Session
from schemas.clock import Clock
from schemas.http.protocol import ABORT

HEADERS: Final = (
    (b"content-type", sse.MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)

MOST_STREAMS: Final = 4_000
"""Streams of one process. Each takes about 100 KiB and a file descriptor."""
MOST_OF_TENANT: Final = 1_000
"""Streams of one tenant, of one subject that reads other tenants, or of one operator."""
Holder = Payer | str | None

log = structlog.get_logger(__name__)


class Pace(NamedTuple):
    """Times in seconds: between heartbeats, for one send, and for the end of a stream."""

    heartbeat: float = 15.0
    send: float = 10.0
    finish: float = 0.5


class _SlowError(ApiError):
    """The client does not read its stream."""


class Client(Protocol):
    """A client, as its stream needs it: `ended` is set once the stream must end, with the reason."""

    @property
    def ended(self) -> "asyncio.Future[Any]":
        """The reason."""


_Listener = TypeVar("_Listener", bound=Client)
_Heard_co = TypeVar("_Heard_co", bound=Client, covariant=True)
_Sent_contra = TypeVar("_Sent_contra", bound=Client, contravariant=True)


class Source(Protocol[_Heard_co]):
    """What is read for streams."""

    def require(self) -> None:
        """Raise UnavailableError if the last attempt to read it failed."""

    def listener(self) -> AbstractContextManager[_Heard_co]:
        """Return a client for a block."""


class Content(Protocol[_Sent_contra]):
    """The bytes of one stream."""

    def chunks(self, listener: _Sent_contra, seconds: float, /) -> AsyncGenerator[bytes, None]:
        """Yield the bytes for ever; something at least every so many seconds."""


class EventStream(Response, Generic[_Listener]):
    """A response that ends when the client leaves or is too slow, its token expires, or the process stops."""

    media_type = sse.MEDIA_TYPE

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        session: Content[_Listener],
        feed: Source[_Listener],
        metrics: Metrics,
        clock: Clock,
        pace: Pace,
        *,
        expires_at: int,
        open_streams: Counter[Holder],
        holder: Holder,
    ) -> None:
        super().__init__()
        self._open_streams = open_streams
        self._holder = holder
        self._session = session
        self._feed = feed
        self._metrics = metrics
        self._clock = clock
        self._pace = pace
        self._expires_at = expires_at
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream. A HEAD request gets the head only, and does not count as a stream.

        Raises:
            UnavailableError: if the stream cannot begin; nothing was sent.
        """
        if scope.get(HEAD_ONLY, False):
            self._feed.require()
            await self._start(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._open_streams[self._holder] += 1
        try:
            with self._feed.listener() as listener:
                reason = await self._hold(listener, receive, send)
        finally:
            self._open_streams[self._holder] -= 1
            self._open_streams += Counter()  # drops entries of 0
        self._metrics.stream_ended(reason)
        scope["sleep.facts"]["ended"] = reason
        if reason != "left":
            await self._finish(receive, send, scope.get("extensions", {}).get(ABORT))

    async def _hold(self, listener: _Listener, receive: Receive, send: Send) -> str:
        """Send until there is a reason to end, and return the reason."""
        serving = asyncio.create_task(self._serve(listener, send))
        leaving = asyncio.create_task(_left(receive))
        futures: set[asyncio.Future[Any]] = {serving, leaving, listener.ended}
        try:
            seconds_left = (self._expires_at - self._clock()) / 1000
            await asyncio.wait(futures, timeout=max(seconds_left, 0), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                return "left"
            if listener.ended.done():
                reason: str = listener.ended.result()
                return reason
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

    async def _serve(self, listener: _Listener, send: Send) -> None:
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
        """End the response. A client that does not read even that is disconnected, and continues from its last id."""
        try:
            async with asyncio.timeout(self._pace.finish):
                await self._start(send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            if abort is not None:
                abort()
                # The server expects the end of the response until it has noticed the disconnect.
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
        self._open_streams: Counter[Holder] = Counter()

    def open(
        self, tenant: str | None, last_id: str | None, expires_at: int, holder: Payer | None = None
    ) -> EventStream[Listener]:
        """Return the response that serves a stream.

        Args:
            tenant: the tenant of the stream, None for all tenants.
            last_id: the id after which the client continues, if any.
            expires_at: the end of the client's token, and so of the stream, in milliseconds.
            holder: the payer whose streams are counted; by default the tenant.

        Raises:
            ProblemError: `too_many_streams`.
        """
        session = Session(self._feed, self._catchup, self._reads, self._store, tenant=tenant, last_id=last_id)
        return self.serve(session, self._feed, expires_at, holder or tenant)

    def serve(
        self, session: Content[_Listener], feed: Source[_Listener], expires_at: int, payer: Holder
    ) -> EventStream[_Listener]:
        """Return the response that serves a stream of any content.

        Args:
            session: makes the bytes.
            feed: what they are made of.
            expires_at: the end of the client's token, and so of the stream, in milliseconds.
            payer: whose streams are counted.

        Raises:
            ProblemError: `too_many_streams`.
        """
        of_payer, of_all = self._open_streams[payer], self._open_streams.total()
        if of_payer >= MOST_OF_TENANT or of_all >= MOST_STREAMS:
            detail = f"{of_payer} are open for the same, {of_all} in this process; close some"
            raise ProblemError("too_many_streams", detail, headers={"Retry-After": "5"})
        return EventStream(
            session,
            feed,
            self._metrics,
            self._clock,
            self._pace,
            expires_at=expires_at,
            open_streams=self._open_streams,
            holder=payer,
        )
