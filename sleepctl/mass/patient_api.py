"""An API client for a run: it is paced, waits where the API says so, and tries again where the API gives no answer."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from schemas.backoff import Backoff
from schemas.wire.runs import RUN_HEADER
from sleepctl.io.api_client import Answer
from sleepctl.io.tenant_pages import Calls
from sleepctl.ui.errors import CommandError

ATTEMPTS: Final = 6
"""How often a request without an answer is sent. The waits between are up to 5 s each."""
MOST_WAITS: Final = 30
"""How often a request waits for its budget: longer than the longest usual window, a minute."""
LONGEST_WAIT_SECONDS: Final = 60.0
FRESH_SECONDS: Final = 240.0
"""For how long a request may be repeated. Its age was judged when it began: the log remembers a command for an hour,
and a command of more than 55 minutes is looked up first. A machine that was suspended has lost hours."""
_QUOTA: Final = 429
_UNAVAILABLE: Final = 500
_TOO_LATE: Final = "too_late"

Pause = Callable[[float], Awaitable[object]]
PAUSE: Pause = asyncio.sleep
"""How a run waits. Tests replace it."""


class NoAnswerError(CommandError):
    """The API gave no answer in several attempts. The text says what it gave instead."""


class Pace:
    """Spreads requests evenly over time.

    Args:
        per_second: how many requests may begin in a second.
        seconds: a clock that nobody sets, in seconds.
        pause: waits for some seconds.
    """

    def __init__(
        self, per_second: float, seconds: Callable[[], float] = time.monotonic, pause: Pause | None = None
    ) -> None:
        self._gap = 1 / per_second
        self._seconds = seconds
        self._pause = pause or PAUSE
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next request may begin."""
        now = self._seconds()
        at = max(self._next, now)
        self._next = at + self._gap
        if at > now:
            await self._pause(at - now)


class PatientApi:
    """Sends the requests of one run.

    Args:
        client: sends one request.
        run: the name of the run; the API charges its budget for mass commands.
        pace: spreads the requests.
        pause: waits for some seconds.
        random_: draws the jitter of the waits.
        clock: the wall clock, in seconds; it goes on while the machine is suspended.
    """

    def __init__(
        self,
        client: Calls,
        run: str,
        pace: Pace,
        pause: Pause | None = None,
        random_: random.Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._client = client
        self._run = run
        self._pace = pace
        self._pause = pause or PAUSE
        self._random = random_ or random.Random()  # noqa: S311 - jitter

    async def call(
        self,
        method: str,
        path: str,
        *,
        tenant: str | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request that may be repeated, until the API answers it.

        Raises:
            NoAnswerError: after `ATTEMPTS` attempts, `MOST_WAITS` waits for the budget, or `FRESH_SECONDS`.
        """
        sent = {**(headers or {}), RUN_HEADER: self._run}
        backoff = Backoff(self._random, first_seconds=0.5)
        failures = waits = 0
        begun, reason = self._clock(), "none was sent yet"
        while True:
            await self._pace.turn()
            if not 0 <= self._clock() - begun <= FRESH_SECONDS:
                raise NoAnswerError(f"it took longer than {FRESH_SECONDS:g} s: {reason}")
            try:
                answer = await self._client.call(method, path, tenant=tenant, body=body, headers=sent)
            except CommandError as error:
                reason = str(error)
            else:
                if answer.status < _UNAVAILABLE and answer.status != _QUOTA:
                    return answer
                # The log has refused this id for good.
                if answer.document.get("code") == _TOO_LATE:
                    return answer
                reason = answer.problem()
                if answer.status == _QUOTA and waits < MOST_WAITS:
                    waits += 1
                    await self._pause(_retry_after(answer) + self._random.random())
                    continue
            failures += 1
            if failures == ATTEMPTS or waits == MOST_WAITS:
                raise NoAnswerError(reason)
            await self._pause(backoff.next())


def _retry_after(answer: Answer) -> float:
    """Return for how many seconds the API asks to wait, bounded."""
    text = answer.headers.get("Retry-After", "")
    return min(float(text), LONGEST_WAIT_SECONDS) if text.isdecimal() else 1.0
