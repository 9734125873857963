"""The session with the server: its status, and what the thread does next.

The thread asks `next` and does what it says: it posts a batch, or waits. It hands the answer to `answered`. So there is
one request under way at a time. The first request has no events. It shows a wrong URL or token at the start, before a
breaker opens, and it gives the server's time.
"""

import logging
import math
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from sleep_client.emission.answers import Meaning, Verdict, judge
from sleep_client.emission.events import Event
from sleep_client.emission.outbox import Outbox
from sleep_client.emission.report import DropReason, Report
from sleep_client.emission.server_time import ServerTime
from sleep_client.protocol import waits
from sleep_client.protocol.answer import Answer
from sleep_client.protocol.notice import Notice

FORBIDDEN_SECONDS: Final = 600.0
"""How long the events of a tenant wait after a 403 for it. The refusals of many pods share one budget at the server."""


class Status(Enum):
    """The status of an emitter.

    Attributes:
        STARTING: no answer has come yet.
        READY: the last request was accepted.
        AWAY: the server cannot be reached, or cannot take reports now. The emitter tries again.
        REFUSED: the token, the URL or the server is wrong. The emitter tries again about once a minute.
        CLOSED: `close` has ended.
    """

    STARTING = "starting"
    READY = "ready"
    AWAY = "away"
    REFUSED = "refused"
    CLOSED = "closed"


class Post(NamedTuple):
    """Send these events now. The first request has none."""

    events: list[Event]


class Pause(NamedTuple):
    """Wait for so many seconds, or until something is reported."""

    seconds: float


class Session:
    """Decides what the thread of an emitter does, from reports, answers and the time that it is given.

    Args:
        outbox: the reports.
        address: the URL as it is logged.
        jitter: returns a random number from 0 to 1.
    """

    def __init__(self, outbox: Outbox, address: str, jitter: Callable[[], float]) -> None:
        self.status = Status.STARTING
        self.delivered = False
        """Whether the session has ended with nothing left to send, and nothing refused since `close`."""
        self._refused_at_close = False
        self._outbox = outbox
        self._address = address
        self._jitter = jitter
        self._server_time = ServerTime()
        self._greeted = False
        self._failures = 0
        self._not_before = -math.inf
        self._deadline: float | None = None
        self._notices: list[Notice] = []

    @property
    def dropped(self) -> dict[DropReason, int]:
        """The number of reports that were dropped, by reason."""
        return dict(+self._outbox.dropped)

    @property
    def closing(self) -> bool:
        """Whether `close` was called."""
        return self._deadline is not None

    def report(self, report: Report) -> bool:
        """Take a report, and return whether there is something new to do. After `close` it is dropped."""
        if self.closing:
            self.drop("closed", "the emitter was closed before")
            return False
        full = self._outbox.dropped["full"]
        if self._outbox.report(report):
            return True
        if self._outbox.dropped["full"] != full:
            self._note_drop("full", "too many different breakers and instances; use fewer names")
        return bool(self._notices)

    def drop(self, reason: DropReason, detail: str) -> None:
        """Count a report that is not sent."""
        self._outbox.dropped[reason] += 1
        self._note_drop(reason, detail)

    def _note_drop(self, reason: DropReason, detail: str) -> None:
        # One line a reason. A defect of the caller would otherwise fill the log.
        if self._outbox.dropped[reason] == 1:
            text = f"A report was dropped ({reason}): {detail}. `dropped` counts further ones."
            self._notices.append(Notice(logging.WARNING, text))

    def close(self, now: float, seconds: float, *, release: bool) -> None:
        """Send what waits, within a time, and then end.

        Args:
            now: the time.
            seconds: how long that may take.
            release: whether to report as closed what the server may hold. Otherwise leases end it.
        """
        if self._deadline is not None:
            return
        self._deadline = now + seconds
        self._not_before = min(self._not_before, now + waits.CLOSING_SECONDS)
        if release:
            self._outbox.release(now)

    def next(self, now: float) -> Post | Pause | None:
        """Return the next step of the thread, None at the end."""
        if self.status is Status.CLOSED:
            return None
        due = self._outbox.due_at(now)
        last = math.inf
        if self._deadline is not None:
            last = self._deadline
            if now >= last or not self._outbox.waiting or due is None or due >= last:
                self.end()
                return None
        if now < self._not_before:
            return Pause(min(self._not_before, last) - now)
        if not self._greeted:
            return Post([])
        if due is not None and due <= now:
            return Post(self._outbox.take(now, self._server_time))
        return Pause(min(math.inf if due is None else due, last) - now)

    def remaining(self, now: float, most: float) -> float:
        """Return how long a request may take: `most` seconds, less if the emitter closes before."""
        return most if self._deadline is None else max(0.1, min(most, self._deadline - now))

    def end(self) -> None:
        """End now, whatever waits."""
        left = self._outbox.abandon()
        self.status = Status.CLOSED
        self.delivered = not left and not self._refused_at_close
        if left:
            text = f"The emitter was closed before {left} reports reached {self._address}. Leases end their claims."
            self._notices.append(Notice(logging.WARNING, text))

    def answered(self, answer: Answer, count: int, sent: float, now: float) -> None:
        """Take an answer.

        Args:
            answer: the answer.
            count: the number of events that were sent: the first ones of the batch.
            sent: when they were sent.
            now: when the answer came.
        """
        if answer.date is not None:
            self._server_time.learn(answer.date, sent, now)
        verdict = judge(answer, count)
        match verdict.meaning:
            case Meaning.ACCEPTED:
                self._greeted = True
                self._failures = 0
                self._outbox.accepted(count, now)
                self._become(Status.READY, logging.INFO, f"Reports reach {self._address}.")
            case Meaning.LATER:
                self._away(verdict.finding, verdict.retry_after, now)
            case Meaning.CONTENT:
                self._refused(verdict, count)
            case Meaning.TENANT:
                self._refused_tenant(verdict, count, now)
            case Meaning.TOKEN | Meaning.PERSON:
                self._refused_all(verdict, now)

    def failed(self, finding: str, now: float) -> None:
        """Take note that a request got no answer, or could not be sent."""
        self._away(finding, None, now)

    def _away(self, finding: str, retry_after: int | None, now: float) -> None:
        self._failures += 1
        jitter = self._jitter()
        if retry_after is None:
            self._wait(waits.after_failure(self._failures, jitter), now)
        else:
            self._wait(waits.after_retry_after(retry_after, jitter), now)
        text = f"{self._address} takes no reports now: {finding}. Trying again; the last state of each breaker is kept."
        self._become(Status.AWAY, logging.WARNING, text)

    def _refused_all(self, verdict: Verdict, now: float) -> None:
        self._failures += 1
        self._greeted = False
        if verdict.meaning is Meaning.TOKEN and self._failures == 1:
            # A token that has just ended is replaced by the function that returns tokens.
            self._wait(waits.after_failure(1, self._jitter()), now)
        else:
            self._wait(waits.after_refusal(self._jitter()), now)
        text = f"{self._address} refuses reports: {verdict.finding}. Trying again once a minute."
        self._become(Status.REFUSED, logging.ERROR, text)

    def _refused(self, verdict: Verdict, count: int) -> None:
        before = self._outbox.dropped["refused"]
        self._outbox.refused(count, verdict.wrong)
        if self.closing and self._outbox.dropped["refused"] > before:
            self._refused_at_close = True
        if before == 0 and self._outbox.dropped["refused"]:
            text = f"A report was dropped (refused): {verdict.finding}. `dropped` counts further ones."
            self._notices.append(Notice(logging.WARNING, text))

    def _refused_tenant(self, verdict: Verdict, count: int, now: float) -> None:
        if verdict.retry_after is None:
            seconds = FORBIDDEN_SECONDS * (1 + self._jitter() / 2)
        else:
            seconds = waits.after_retry_after(verdict.retry_after, self._jitter())
        tenant = self._outbox.refused_tenant(count, now + seconds)
        if tenant is not None:
            text = f"Reports of tenant {tenant} wait for {seconds:.0f} s: {verdict.finding}."
            self._notices.append(Notice(logging.WARNING, text))

    def _wait(self, seconds: float, now: float) -> None:
        self._not_before = now + (min(seconds, waits.CLOSING_SECONDS) if self.closing else seconds)

    def _become(self, status: Status, level: int, text: str) -> None:
        if status is not self.status:
            self.status = status
            self._notices.append(Notice(level, text))

    def notices(self) -> list[Notice]:
        """Return the lines for the log since the last call."""
        notices, self._notices = self._notices, []
        return notices
