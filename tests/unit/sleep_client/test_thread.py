"""The thread: it posts what the core decides, and survives whatever it meets."""

import logging
import threading
from collections.abc import Iterator
from copy import copy
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from sleep_client import Status
from sleep_client.emission.outbox import Outbox
from sleep_client.emission.report import Key, Report
from sleep_client.emission.session import Session
from sleep_client.protocol.answer import Answer
from sleep_client.runtime.courier import Courier
from sleep_client.runtime.http import NoAnswerError
from tests.unit.sleep_client.conftest import LIMIT_SECONDS, PERIOD, FakePoster, answer, problem


class Clock:
    """A time that a test sets; it tells how often it was read."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reads = threading.Semaphore(0)

    def __call__(self) -> float:
        self.reads.release()
        return self.now


class Thread:
    """A courier with its parts."""

    def __init__(self) -> None:
        self.poster, self.clock = FakePoster(), Clock()
        self.session = Session(Outbox(PERIOD, "id"), "https://sleep.example", lambda: 0.5)
        self.tokens: SimpleQueue[Exception] = SimpleQueue()
        self.courier = Courier(self.session, self.poster, self._token, "urn:sleep-client:pod-1", self.clock)

    def _token(self) -> str:
        if not self.tokens.empty():
            raise self.tokens.get()
        return "secret-token"

    def report(self, state: Any = "open", breaker: str = "payments") -> None:  # noqa: ANN401 - a state
        """Report a breaker."""
        self.courier.report(Report(Key("acme", breaker, "pod-1"), state, None, self.clock()))

    def close(self) -> bool:
        """Close, and return whether the thread has ended."""
        self.courier.begin_close(5.0, release=True)
        return self.courier.join(LIMIT_SECONDS)


@pytest.fixture
def thread() -> Iterator[Thread]:
    """A courier, not yet started; a thread ends with the test."""
    thread = Thread()
    yield thread
    assert thread.close()


def test_a_report_wakes_the_thread(thread: Thread) -> None:
    """It had nothing to do before."""
    thread.courier.start()
    assert thread.poster.next() == []
    # Before the request, as it is sent, after it, and to find that nothing else is due: then the thread waits.
    for _ in range(4):
        assert thread.clock.reads.acquire(timeout=LIMIT_SECONDS)
    thread.report()
    (event,) = thread.poster.next()
    assert (event["subject"], event["source"]) == ("acme", "urn:sleep-client:pod-1")
    assert event["data"]["state"] == "open"


def test_reports_during_a_request_wait_for_its_end(thread: Thread) -> None:
    """And share the next one; the caller does not wait."""
    released = threading.Event()

    def hang() -> Answer:
        assert released.wait(LIMIT_SECONDS)
        return answer(202, {"accepted": 0})

    thread.poster.answers.put(hang)
    thread.courier.start()
    assert thread.poster.next() == []
    for breaker in "abc":
        thread.report("open", breaker)
    assert thread.poster.posted.empty()
    released.set()
    assert [event["data"]["breaker"] for event in thread.poster.next()] == ["a", "b", "c"]


def test_a_thread_that_was_not_started_starts_with_the_first_report(thread: Thread) -> None:
    """As in the child of a fork."""
    thread.report()
    assert [len(thread.poster.next()) for _ in range(2)] == [0, 1]


def test_a_close_ends_the_thread_and_its_connections(thread: Thread) -> None:
    """After what it holds is released."""
    thread.courier.start()
    thread.report()
    assert [len(thread.poster.next()) for _ in range(2)] == [0, 1]
    assert thread.close()
    (event,) = thread.poster.next()
    assert event["data"]["state"] == "closed"
    assert thread.poster.closed.is_set()
    assert thread.courier.delivered
    assert thread.courier.status is Status.CLOSED


def test_a_close_without_a_thread_is_the_end(thread: Thread) -> None:
    """And no later report starts one."""
    assert thread.close()
    assert thread.courier.status is Status.CLOSED
    thread.report()
    assert thread.courier.dropped == {"closed": 1}
    assert thread.poster.posted.empty()


def test_a_request_without_an_answer_is_an_outage(thread: Thread, caplog: pytest.LogCaptureFixture) -> None:
    """One line in the log; the next step waits."""

    def fail() -> Answer:
        raise NoAnswerError("ConnectError: refused")

    thread.poster.answers.put(fail)
    assert thread.courier.step() == 0.0
    assert thread.courier.step() == pytest.approx(0.75)
    assert thread.courier.status is Status.AWAY
    assert "takes no reports now: ConnectError: refused" in caplog.text


def test_a_function_without_a_token_is_an_outage_and_no_secret_is_logged(
    thread: Thread, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error may have the secret in its text."""
    thread.tokens.put(RuntimeError("secret-token"))
    thread.courier.step()
    assert "there is no usable token (RuntimeError)" in caplog.text
    assert "secret" not in caplog.text
    thread.clock.now += 1
    thread.courier.step()
    assert thread.poster.posted.get()[1] == "secret-token"
    assert thread.courier.status is Status.READY


def test_a_server_that_repeats_the_token_does_not_bring_it_into_the_log(
    thread: Thread, caplog: pytest.LogCaptureFixture
) -> None:
    """Some show the headers of a request."""
    thread.poster.answers.put(lambda: answer(500, {"detail": "got Bearer secret-token"}))
    thread.courier.step()
    assert "got Bearer [token]" in caplog.text


def test_the_last_request_of_a_close_is_bounded_by_it(thread: Thread) -> None:
    """A request else has ten seconds."""
    thread.courier.step()
    thread.report()  # starts the thread
    assert thread.poster.posted.get(timeout=LIMIT_SECONDS)[2] == 10.0
    assert thread.poster.posted.get(timeout=LIMIT_SECONDS)[2] == 10.0
    assert thread.close()
    assert thread.poster.posted.get(timeout=LIMIT_SECONDS)[2] == 5.0


def test_a_defect_does_not_end_the_thread(thread: Thread, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged as an outage, and tried again."""

    def defect() -> Answer:
        raise KeyError("x")

    thread.poster.answers.put(defect)
    thread.courier.start()
    assert [thread.poster.next() for _ in range(1)] == [[]]
    while thread.courier.status is not Status.AWAY:
        pass
    thread.clock.now += 60
    thread.report()
    assert [len(thread.poster.next()) for _ in range(2)] == [0, 1]
    assert "an error of this library: KeyError: 'x'" in caplog.text


def test_lines_go_to_the_logger_of_the_package(thread: Thread, caplog: pytest.LogCaptureFixture) -> None:
    """One for each change of the status."""
    caplog.set_level(logging.INFO, "sleep_client")
    for reply in (problem(401, "invalid_token"), problem(401, "invalid_token"), answer(202, {"accepted": 0})):
        thread.poster.answers.put(partial(copy, reply))
        thread.courier.step()
        thread.clock.now += 100
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("sleep_client", "ERROR"),
        ("sleep_client", "INFO"),
    ]


def test_a_dropped_report_is_counted_and_logged(thread: Thread, caplog: pytest.LogCaptureFixture) -> None:
    """By the thread: the caller of `report` does not wait for a log handler."""
    thread.courier.drop("invalid", "tenant ''")
    assert caplog.text == ""
    thread.courier.step()
    assert "A report was dropped (invalid): tenant ''" in caplog.text
    assert thread.courier.dropped == {"invalid": 1}
