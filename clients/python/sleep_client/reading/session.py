"""The status of a reader, and what its follower does next.

The follower asks `next` and does what it says: it opens a connection, or waits. It tells what a connection brings, and
how it ends. Mostly there is one connection. Before its token ends there are two for a moment: the second one goes on
from the id of the first, and takes over once it is ready.
"""

import logging
import math
from collections.abc import Callable
from enum import Enum
from typing import Final, Literal, NamedTuple

from sleep_client.protocol import waits
from sleep_client.protocol.notice import Notice
from sleep_client.reading import token as tokens
from sleep_client.reading.answers import Meaning, Verdict
from sleep_client.reading.errors import BadStreamError
from sleep_client.reading.intake import Changed, Intake
from sleep_client.reading.log_clock import LogClock
from sleep_client.reading.parameters import ParameterReader
from sleep_client.reading.sse import EventParser
from sleep_client.reading.tenants import Tenants

WhenStale = Literal["hold", "wake"]
SNAPSHOT_SECONDS: Final = 120.0
"""How long a connection may take to be ready. 100,000 tenants took 13 s on a busy machine."""
SILENT_SECONDS: Final = 60.0
"""How long a connection may bring no time. The server sends one every 15 s."""
_RENEWAL_SECONDS: Final = 60.0
"""How long before its end a token is renewed at the latest, or a quarter of what is left of it."""
_SHORTEST_RENEWAL: Final = 1.0
"""A token with less than this left is not renewed: the connection ends with it."""


class ReaderStatus(Enum):
    """The status of a reader.

    Attributes:
        NOT_READY: no states have come yet, or the reader is closed.
        READY: a stream is open, and all states are known.
        STALE: the stream is lost. The reader follows the forecast of each tenant, and tries again.
        ERROR: the server refuses the reader, or it has been stale for too long. The reader tries again.
    """

    NOT_READY = "not_ready"
    READY = "ready"
    STALE = "stale"
    ERROR = "error"


class Connect(NamedTuple):
    """Open a connection now."""


class Pause(NamedTuple):
    """Wait for so many seconds, or until a connection changes something."""

    seconds: float


class Link:
    """A connection.

    Args:
        intake: takes its events.
        now: when it is opened, in seconds of the local clock.

    Attributes:
        heard_at: when it was opened, or when it brought the last time.
        token_ends_at: milliseconds since the epoch; None if that is not known.
    """

    def __init__(self, intake: Intake, now: float) -> None:
        self.intake = intake
        self.heard_at = now
        self.token_ends_at: int | None = None
        self._parser = EventParser()

    def take(self, chunk: bytes, now: float) -> None:
        """Take bytes.

        Raises:
            BadStreamError: if they are no events of states, or if the stream lets wait for them.
        """
        for event in self._parser.feed(chunk):
            if self.intake.take(event, now):
                self.heard_at = now
        if now - self.heard_at > (SILENT_SECONDS if self.intake.ready else SNAPSHOT_SECONDS):
            what = "the log's time" if self.intake.ready else "the end of the snapshot"
            raise BadStreamError(f"{what} does not come")


class Session:
    """Decides what the follower does, from what connections bring and the time that it is given.

    Args:
        tenants: what is known.
        address: the URL as it is logged.
        when_stale: what counts in `ERROR`: the forecast, or that every tenant is awake.
        max_stale_seconds: after which time without a stream the status is `ERROR`.
        renews: whether tokens can be renewed.
        jitter: returns a random number from 0 to 1.

    Attributes:
        status: the status.
        clock: the log's.
        changed: what has changed.
    """

    def __init__(
        self,
        tenants: Tenants,
        address: str,
        when_stale: WhenStale,
        max_stale_seconds: float,
        jitter: Callable[[], float],
        *,
        renews: bool,
    ) -> None:
        self.status = ReaderStatus.NOT_READY
        self.clock = LogClock()
        self.changed = Changed()
        self.finding = ""
        """Why the last attempt failed; "" if it did not."""
        self._tenants = tenants
        self._address = address
        self._wakes = when_stale == "wake"
        self._max_stale_seconds = max_stale_seconds
        self._renews = renews
        self._jitter = jitter
        self._sets = ParameterReader()
        self._current: Link | None = None
        self._opening: Link | None = None
        self._last_id = ""
        self._failures = 0
        self._refused_tokens = 0
        """Since the last stream."""
        self._not_before = -math.inf
        self._renew_at = math.inf
        self._stale_since = math.inf
        self._closed = False
        self._said = ""
        self._notices: list[Notice] = []

    def next(self, now: float) -> Connect | Pause | None:
        """Return the next step of the follower, None at the end."""
        if self._closed:
            return None
        error_at = self._stale_since + self._max_stale_seconds
        if self.status is ReaderStatus.STALE and now >= error_at:
            self._stale_for_too_long()
        soonest = error_at if self.status is ReaderStatus.STALE else math.inf
        if self._opening is None:
            due = self._not_before if self._current is None else max(self._renew_at, self._not_before)
            if now >= due:
                return Connect()
            soonest = min(soonest, due)
        return Pause(soonest - now)

    def connect(self, now: float) -> Link:
        """Begin a connection."""
        intake = Intake(self._tenants, self.clock, self._sets, self.changed, self.last_id)
        self._opening = Link(intake, now)
        return self._opening

    @property
    def last_id(self) -> str:
        """What the next connection goes on from."""
        return self._last_id if self._current is None else self._current.intake.last_id

    def authorised(self, link: Link, token: str) -> None:
        """Note the token of a connection."""
        link.token_ends_at = tokens.ends_at(token) if self._renews else None

    def take(self, link: Link, chunk: bytes, now: float) -> Link | None:
        """Take bytes of a connection, and return the one that it takes over from, which is not needed any more.

        Raises:
            BadStreamError: if they are no events of states.
        """
        link.take(chunk, now)
        if link is not self._opening or not link.intake.ready:
            return None
        before, self._current, self._opening = self._current, link, None
        self._failures = self._refused_tokens = 0
        self._stale_since = math.inf
        self.finding = ""
        self._plan_renewal(link, now)
        self._become(ReaderStatus.READY, "", logging.INFO, f"The states of tenants come from {self._address}.")
        return before

    def _plan_renewal(self, link: Link, now: float) -> None:
        self._renew_at = math.inf
        self._not_before = -math.inf
        if link.token_ends_at is None:
            return
        left = (link.token_ends_at - self.clock.at(now)) / 1000
        if left > _SHORTEST_RENEWAL:
            # Jitter keeps readers with tokens of the same moment from calling in step.
            self._renew_at = now + left - min(_RENEWAL_SECONDS, left / 4) * (1 + self._jitter()) / 2

    def ended(self, link: Link, verdict: Verdict, now: float) -> None:
        """Note that a connection has ended, or could not be opened, and why."""
        if link is self._opening:
            self._opening = None
        elif link is self._current:
            self._current = None
            self._last_id = link.intake.last_id
        else:
            return
        if self._current is None and link.intake.last_id == "":
            self._last_id = ""  # After a `reset` without its snapshot.
        self._failures += 1
        self._refused_tokens += verdict.meaning is Meaning.TOKEN
        self.finding = verdict.finding
        self._not_before = now + self._wait(verdict)
        if self._current is not None:
            self._say(f"renewal: {verdict.meaning.value}", logging.WARNING, self._text_of_renewal(verdict))
        elif self._is_refusal(verdict):
            self._refused(verdict)
        else:
            self._lost(verdict, now)

    def _is_refusal(self, verdict: Verdict) -> bool:
        if verdict.meaning is Meaning.CONTENT:
            return not self._tenants.complete  # At the start it is another server; later it may be an accident.
        return verdict.meaning in (Meaning.PERSON, Meaning.TOKEN) and not self._may_have_ended(verdict)

    def _may_have_ended(self, verdict: Verdict) -> bool:
        """Tell whether a refused token may just have ended, and the next one may be right."""
        return verdict.meaning is Meaning.TOKEN and self._refused_tokens == 1 and self._tenants.complete

    def _wait(self, verdict: Verdict) -> float:
        if verdict.retry_after is not None:
            return waits.after_retry_after(verdict.retry_after, self._jitter())
        if self._current is None and verdict.meaning is not Meaning.CONTENT and self._is_refusal(verdict):
            return waits.after_refusal(self._jitter())
        return waits.after_failure(self._failures, self._jitter())

    def _text_of_renewal(self, verdict: Verdict) -> str:
        return f"{self._address} gives no stream for a new token: {verdict.finding}. Trying again; the old one is open."

    def _lost(self, verdict: Verdict, now: float) -> None:
        if self.status is ReaderStatus.READY:
            self._stale_since = now
            text = f"The stream of {self._address} is lost: {verdict.finding}. Following the forecasts; trying again."
            self._become(ReaderStatus.STALE, "", logging.WARNING, text)
        elif self.status is ReaderStatus.NOT_READY:
            text = f"{self._address} gives no states yet: {verdict.finding}. Trying again."
            self._tenants.explain(text)
            self._say("not ready", logging.WARNING, text)

    def _refused(self, verdict: Verdict) -> None:
        text = f"{self._address} gives the reader no states: {verdict.finding}. Trying again about once a minute."
        if not self._tenants.complete:
            self._tenants.explain(text)
        self._become(ReaderStatus.ERROR, "refused", logging.ERROR, text)

    def _stale_for_too_long(self) -> None:
        follows = "Every tenant is taken for awake" if self._wakes else "Following the forecasts"
        text = (
            f"{self._address} has given no states for {self._max_stale_seconds:g} s: {self.finding}. "
            f"{follows}; trying again."
        )
        self._become(ReaderStatus.ERROR, "stale", logging.ERROR, text)

    def _become(self, status: ReaderStatus, kind: str, level: int, text: str) -> None:
        if status is not self.status:
            self.status = status
            # In this order: no answer is awake by default and fresh, not for a moment.
            if status is not ReaderStatus.READY:
                self._tenants.stale = True
            self._tenants.woken = self._wakes and status is ReaderStatus.ERROR
            if status is ReaderStatus.READY:
                self._tenants.stale = False
            self.changed.add_all()
        self._say(f"{status.value}: {kind}", level, text)

    def _say(self, what: str, level: int, text: str) -> None:
        # One line a change; each renewal would else repeat the line of the status.
        if what != self._said:
            self._said = what
            self._notices.append(Notice(level, text))

    def close(self) -> None:
        """End, by a call or by an error. What was known gets old from now on, so it is forgotten."""
        self._closed = True
        self.status = ReaderStatus.NOT_READY
        self._tenants.forget("the reader has ended; open another one")

    def notices(self) -> list[Notice]:
        """Return the lines for the log since the last call."""
        notices, self._notices = self._notices, []
        return notices
