"""Answers other than 202: nothing is lost that may still pass, and nothing holds up the others."""

import logging

import pytest

from sleep_client import Status
from sleep_client.emission.events import Event
from sleep_client.emission.session import FORBIDDEN_SECONDS
from sleep_client.protocol.answer import Answer
from tests.unit.sleep_client.conftest import Emission, answer, problem, said


@pytest.mark.parametrize(
    ("refusal", "seconds"),
    [
        (problem(503, "kafka_unavailable", **{"retry-after": "7"}), 8.75),
        (problem(429, "too_many_in_flight", **{"retry-after": "1"}), 1.25),
        (answer(429), 1.25),
        (problem(500, "internal_error"), 0.75),
        (answer(502), 0.75),
        (problem(408, "request_timeout", **{"retry-after": "soon"}), 0.75),
    ],
)
def test_an_outage_is_waited_for(emission: Emission, refusal: Answer, seconds: float) -> None:
    """As long as the server asks for, and with jitter; a report meanwhile shortens nothing."""
    emission.report("open")
    sent = emission.refuse(refusal)
    assert emission.status() is Status.AWAY
    assert emission.pause() == pytest.approx(seconds)
    emission.report("open", "other")
    assert emission.pause() == pytest.approx(seconds)
    emission.now += seconds
    assert emission.accept()[0] == sent[0]
    assert emission.status() is Status.READY


def test_a_request_without_an_answer_is_tried_again_at_growing_intervals(emission: Emission) -> None:
    """Up to a bound, and for as long as it takes."""
    emission.report("open")
    waits = []
    for _ in range(7):
        emission.post()
        emission.session.failed("ConnectError", emission.now)
        waits.append(emission.pause())
        emission.now += waits[-1]
    assert waits == [0.75, 1.5, 3.0, 6.0, 12.0, 12.0, 12.0]
    emission.accept()
    emission.report("closed")
    emission.refuse(answer(500))
    assert emission.pause() == 0.75


def test_an_event_that_the_server_names_as_invalid_is_dropped_alone(emission: Emission) -> None:
    """The others pass with the next request."""
    for breaker in "abcd":
        emission.report("open", breaker)
    emission.refuse(problem(422, "invalid_request", wrong=["[1].data.breaker", "[3].subject", "[3].type", "[9].x"]))
    assert said(emission.accept()) == [("a", "open"), ("c", "open")]
    assert emission.session.dropped == {"refused": 2}
    assert [notice.level for notice in emission.notices] == [logging.INFO, logging.WARNING]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_invalid_event_that_is_not_named_is_found_by_halves(emission: Emission, status: int) -> None:
    """Whatever the answer says of it."""
    for number in range(100):
        emission.report("open", f"b{number}")
    passed = emission.converse(lambda events: answer(status) if ("b70", "open") in said(events) else None, 99)
    assert emission.session.dropped == {"refused": 1}
    assert {event.report.key.breaker for event in passed} == {f"b{number}" for number in range(100)} - {"b70"}


def _has(tenant: str, events: list[Event]) -> bool:
    return any(event.report.key.tenant == tenant for event in events)


@pytest.mark.parametrize(
    ("refusal", "seconds"),
    [
        (problem(403, "forbidden"), FORBIDDEN_SECONDS * 1.25),
        (problem(429, "quota_exceeded", **{"retry-after": "10"}), 12.5),
    ],
)
def test_a_tenant_that_is_refused_holds_up_no_other_tenant(emission: Emission, refusal: Answer, seconds: float) -> None:
    """Its own reports wait, with the last state; one line says so."""
    for number in range(20):
        emission.report("open", f"b{number}", "bad" if number in (7, 8) else "good")
    emission.converse(lambda events: refusal if _has("bad", events) else None, 18)
    emission.report("closed", "b7", "bad")
    assert emission.status() is Status.READY
    assert 0 < emission.pause() <= seconds
    emission.now += seconds
    late = [event for event in emission.accept() if event.report.key.tenant == "bad"]
    assert said(late) == [("b7", "closed"), ("b8", "open")]
    (line,) = [notice for notice in emission.notices if notice.level == logging.WARNING]
    assert line.text.startswith(f"Reports of tenant bad wait for {seconds:.0f} s: HTTP {refusal.status}")


def test_a_tenant_that_stays_refused_is_one_line(emission: Emission) -> None:
    """Until a report of it is accepted."""
    for _ in range(2):
        for _ in range(3):
            emission.report("open")
            emission.refuse(problem(429, "quota_exceeded", **{"retry-after": "1"}))
            emission.now += 2
        emission.accept()
        emission.report("closed")
        emission.accept()
    lines = [notice.text for notice in emission.notices if notice.text.startswith("Reports of tenant acme wait")]
    assert len(lines) == 2


def test_a_batch_above_the_quota_of_a_tenant_is_sent_in_parts(emission: Emission) -> None:
    """A batch that is larger than the limit never passes."""
    for number in range(50):
        emission.report("open", f"b{number}")
    most = 7
    passed = 0
    for _ in range(40):
        events = emission.post()
        if len(events) > most:
            emission.answered(problem(429, "quota_exceeded", **{"retry-after": "1"}), events)
        else:
            passed += len(emission.accept(events))
        if passed == 50:
            return
        emission.now += 1.25
    raise AssertionError(f"{passed} of 50 passed")


@pytest.mark.parametrize(
    ("refusal", "cure"),
    [
        (problem(401, "invalid_token"), "check the token"),
        (problem(403, "forbidden"), "sleep:emit"),
        (problem(404, "not_found"), "check the URL"),
        (answer(301), "check the URL"),
        (answer(200, "<html>"), "check the URL"),
        (answer(200, {"accepted": 0}), "check the URL"),
        (answer(202, {"accepted": 3}), "check the URL"),
        (answer(202, ["accepted"]), "check the URL"),
        (problem(422, "invalid_request"), "check the URL"),
    ],
)
def test_a_wrong_token_or_url_is_said_before_a_breaker_opens(refusal: Answer, cure: str) -> None:
    """By the first request, which has no events; one line however often it is tried."""
    emission = Emission()
    for _ in range(4):
        assert emission.refuse(refusal) == []
        emission.now += emission.pause()
    assert emission.status() is Status.REFUSED
    (notice,) = emission.notices
    assert notice.level == logging.ERROR
    assert cure in notice.text
    assert emission.accept() == []
    assert emission.status() is Status.READY


def test_a_token_that_has_just_ended_is_replaced_at_once(emission: Emission) -> None:
    """The function that returns tokens has a new one. The second 401 in a row waits for a person."""
    emission.report("open")
    emission.refuse(problem(401, "invalid_token"))
    assert emission.pause() < 1
    emission.now += 1
    emission.refuse(problem(401, "invalid_token"))
    assert emission.pause() >= 60
    emission.now += 75
    emission.accept()
    assert said(emission.accept()) == [("payments", "open")]


def test_each_change_of_the_status_is_one_line(emission: Emission) -> None:
    """However many requests fail."""
    for _ in range(2):
        for _ in range(3):
            emission.report("open")
            emission.refuse(problem(503, "kafka_unavailable"))
            emission.now += 60
        emission.accept()
        emission.report("closed")
    assert [(notice.level, notice.text.partition(":")[0]) for notice in emission.notices] == [
        (logging.INFO, "Reports reach https"),
        (logging.WARNING, "https"),
        (logging.INFO, "Reports reach https"),
        (logging.WARNING, "https"),
        (logging.INFO, "Reports reach https"),
    ]
    assert "HTTP 503 kafka_unavailable: about kafka_unavailable" not in emission.notices[0].text
    assert "HTTP 503: kafka_unavailable: about kafka_unavailable" in emission.notices[1].text


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"3", b"[" * 60_000, b'{"errors": 3}', b'{"errors": [3], "code": 3}', b"\xff"]
)
def test_any_bytes_may_be_an_answer(emission: Emission, body: bytes) -> None:
    """The status decides then."""
    emission.report("open")
    emission.refuse(Answer(422, {"date": "yesterday", "retry-after": "-1"}, body))
    assert emission.session.dropped == {"refused": 1}


def test_text_of_a_server_is_cut_and_cleaned_for_the_log(emission: Emission) -> None:
    """It makes no lines of its own."""
    emission.report("open")
    emission.refuse(answer(503, {"code": "x", "detail": "a\nERROR b\x1b[31m" + "c" * 1000}))
    text = emission.notices[-1].text
    assert "HTTP 503: x: a ERROR b [31mccc" in text
    assert len(text) < 500
