"""How often pages that need no token are served: whoever asks for them shares the event loop with what matters more."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.http.answers import answering, client_of
from schemas.http.early_answers import OVERLOADED

BURST_SECONDS: Final = 1.0
"""After how long a rest the requests of how long a time may come at once."""
WAITING_OF_CLIENT: Final = 16
"""How many requests of one client may wait, so that anybody else waits for few of them."""
WAITING: Final = 128
"""How many may wait in all, but for the first of each client. A probe waits for 0.7 s then; orchestrators give 1 s."""
REFUSED_SECONDS: Final = 1.0
"""How long whoever is refused waits for that, so that asking again at once takes little of the loop either."""


class Turns:
    """Hands out turns at a rate, in the order in which they were asked for.

    Args:
        a_second: how many.
    """

    def __init__(self, a_second: float) -> None:
        self._interval = 1 / a_second
        self._next = float("-inf")
        self._waiting: Counter[str] = Counter()

    def take(self, client: str, now: float) -> float | None:
        """Return how long to wait for a turn, in seconds; None where too many wait, and this one is not to.

        Args:
            client: who asks.
            now: monotonic, in seconds.
        """
        at = max(self._next, now - BURST_SECONDS)
        most = WAITING_OF_CLIENT if self._waiting.total() < WAITING else 1
        if at > now and self._waiting[client] >= most:
            return None
        self._next = at + self._interval
        self._waiting[client] += 1
        return max(at - now, 0.0)

    def begin(self, client: str) -> None:
        """Note that a turn that was waited for begins, or that nobody waits for it any more."""
        self._waiting[client] -= 1
        if not self._waiting[client]:
            del self._waiting[client]


class Pace:
    """Wraps an application, and serves some of its paths at a bounded rate.

    Args:
        app: the application.
        turns_of: returns whose turns a path takes, None where it takes none.
        now: time, monotonic, in seconds.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        turns_of: Callable[[str], Turns | None],
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._app = app
        self._turns_of = turns_of
        self._now = now
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request when its turn has come, or refuse it where too many wait."""
        turns = self._turns_of(scope["path"]) if scope["type"] == "http" else None
        if turns is None:
            await self._app(scope, receive, send)
            return
        client = client_of(scope["client"])
        wait = turns.take(client, self._now())
        if wait is None:
            await self._sleep(REFUSED_SECONDS)
            detail = "this page is asked for more often than it is served; ask less often"
            await cast("Any", answering(OVERLOADED, detail))(scope, receive, send)
            return
        try:
            if wait:
                await self._sleep(wait)
        finally:
            turns.begin(client)
        await self._app(scope, receive, send)
