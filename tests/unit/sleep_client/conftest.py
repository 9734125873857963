"""An emitter's core and a server that answers it, both in the time that a test sets."""

import threading
from collections.abc import Callable, Iterable
from email.utils import formatdate
from queue import SimpleQueue
from typing import Any, Final

import pytest
from pydantic_core import from_json, to_json

from sleep_client import State, Status
from sleep_client.emission.events import Event
from sleep_client.emission.outbox import MOST_KEYS, Outbox
from sleep_client.emission.report import Key, Report
from sleep_client.emission.session import Pause, Post, Session
from sleep_client.protocol.answer import Answer
from sleep_client.protocol.notice import Notice

EPOCH: Final = 1_795_334_400
"""The server's time in seconds, at 0 of the local clock."""
PERIOD: Final = 300.0
LIMIT_SECONDS: Final = 20.0
"""Ends a test that hangs; nothing here waits for so long."""


def answer(status: int, document: object = None, **headers: str) -> Answer:
    """Return an answer of the API."""
    return Answer(status, headers, to_json({} if document is None else document))


def problem(status: int, code: str, *, wrong: Iterable[str] = (), **headers: str) -> Answer:
    """Return a problem of the API."""
    document = {"code": code, "detail": f"about {code}", "errors": [{"field": each, "reason": "is"} for each in wrong]}
    if code == "quota_exceeded":
        document["violated-policies"] = ["emit"]
    return answer(status, document, **headers)


class FakePoster:
    """Answers 202, or what a test says; notes what it got."""

    def __init__(self) -> None:
        self.answers: SimpleQueue[Callable[[], Answer]] = SimpleQueue()
        self.posted: SimpleQueue[tuple[list[dict[str, Any]], str, float]] = SimpleQueue()
        self.closed = threading.Event()

    def post(self, body: bytes, token: str, seconds: float) -> Answer:
        events = from_json(body)
        self.posted.put((events, token, seconds))
        return answer(202, {"accepted": len(events)}) if self.answers.empty() else self.answers.get()()

    def close(self) -> None:
        self.closed.set()

    def next(self) -> list[dict[str, Any]]:
        """Return the events of the next request, once it comes."""
        return self.posted.get(timeout=LIMIT_SECONDS)[0]


class Emission:
    """A session, its time, and what it has sent."""

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self.now = 1000.0
        self.session = Session(Outbox(PERIOD, "id", most_keys), "https://sleep.example", lambda: 0.5)
        self.notices: list[Notice] = []

    def report(self, state: State, breaker: str = "payments", tenant: str = "acme", cause: str | None = None) -> None:
        """Report a state of a breaker at this moment."""
        self.session.report(Report(Key(tenant, breaker, "pod-1"), state, cause, self.now))

    def status(self) -> Status:
        """Return the status at this moment."""
        return self.session.status

    def post(self) -> list[Event]:
        """Return what the session sends now."""
        step = self.session.next(self.now)
        assert isinstance(step, Post), step
        return step.events

    def pause(self) -> float:
        """Return for how long the session waits now."""
        step = self.session.next(self.now)
        assert isinstance(step, Pause), step
        return step.seconds

    def answered(self, answer: Answer, events: list[Event]) -> None:
        """Answer a request at this moment."""
        self.session.answered(answer, len(events), self.now, self.now)
        self.notices += self.session.notices()

    def accept(self, events: list[Event] | None = None, *, clock_behind: float = 0.0) -> list[Event]:
        """Accept what the session sends now, or what it has sent before; the server's clock may be behind."""
        events = self.post() if events is None else events
        date = formatdate(EPOCH + self.now - clock_behind, usegmt=True)
        self.answered(answer(202, {"accepted": len(events)}, date=date), events)
        return events

    def converse(self, refusal: Callable[[list[Event]], Answer | None], wanted: int) -> list[Event]:
        """Answer requests, without waiting, until a number of events was accepted, and return these.

        `refusal` returns the answer to a batch, None if the batch is accepted.
        """
        passed: list[Event] = []
        for _ in range(60):
            if len(passed) >= wanted:
                return passed
            events = self.post()
            if (refused := refusal(events)) is None:
                passed += self.accept(events)
            else:
                self.answered(refused, events)
        raise AssertionError(f"{len(passed)} of {wanted} were accepted")

    def refuse(self, answer: Answer) -> list[Event]:
        """Answer what the session sends now."""
        events = self.post()
        self.answered(answer, events)
        return events


@pytest.fixture
def emission() -> Emission:
    """An emitter whose server has answered its first request."""
    emission = Emission()
    assert emission.accept() == []
    return emission


def said(events: Iterable[Event]) -> list[tuple[str, str]]:
    """Return the breaker and the state of each event."""
    return [(event.report.key.breaker, event.report.state) for event in events]
