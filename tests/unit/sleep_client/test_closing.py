"""The end of an emitter: what it holds is released, within a bound."""

import logging

from sleep_client import Status
from tests.unit.sleep_client.conftest import Emission, answer, problem, said


def test_what_is_held_is_reported_as_closed(emission: Emission) -> None:
    """And nothing else; then the thread ends."""
    emission.report("open", "a")
    emission.report("half_open", "b")
    emission.report("closed", "c")
    emission.accept()
    emission.session.close(emission.now, 5.0, release=True)
    assert said(emission.accept()) == [("a", "closed"), ("b", "closed")]
    assert emission.session.next(emission.now) is None
    assert emission.session.status is Status.CLOSED
    assert emission.session.delivered


def test_without_release_what_waits_is_sent_and_leases_end_the_rest(emission: Emission) -> None:
    """For a process that another one replaces under the same name."""
    emission.report("open", "a")
    emission.accept()
    emission.report("open", "b")
    emission.session.close(emission.now, 5.0, release=False)
    assert said(emission.accept()) == [("b", "open")]
    assert emission.session.next(emission.now) is None


def test_what_was_never_sent_is_not_released(emission: Emission) -> None:
    """There is no claim of it."""
    emission.report("open", "a")
    emission.session.close(emission.now, 5.0, release=True)
    assert emission.session.next(emission.now) is None
    assert emission.session.delivered


def test_what_may_have_arrived_is_released(emission: Emission) -> None:
    """A request without an answer may have made a claim; and so may one that is under way."""
    emission.report("open", "a")
    emission.refuse(answer(504))
    emission.report("half_open", "a")
    emission.now += 60
    emission.report("open", "b")
    under_way = emission.post()
    emission.session.close(emission.now, 5.0, release=True)
    emission.accept(under_way)
    assert said(emission.accept()) == [("a", "closed"), ("b", "closed")]


def test_a_close_tries_again_often_and_ends_in_time(emission: Emission) -> None:
    """What is left is counted, and one line says so."""
    emission.report("open")
    emission.accept()
    begun = emission.now
    emission.session.close(begun, 5.0, release=True)
    tries = 0
    while emission.session.next(emission.now) is not None:
        emission.refuse(problem(503, "kafka_unavailable", **{"retry-after": "60"}))
        tries += 1
        emission.now += emission.pause()
    assert 10 <= tries <= 12
    assert emission.now == begun + 5.0
    assert not emission.session.delivered
    assert emission.session.dropped == {"closed": 1}
    emission.notices += emission.session.notices()
    assert emission.notices[-1].level == logging.WARNING
    assert "before 1 reports reached" in emission.notices[-1].text


def test_a_close_during_a_long_wait_tries_once_more(emission: Emission) -> None:
    """The server may have asked for a minute."""
    emission.report("closed")
    emission.refuse(answer(503, **{"retry-after": "60"}))
    emission.session.close(emission.now, 5.0, release=True)
    emission.now += emission.pause()
    assert said(emission.accept()) == [("payments", "closed")]


def test_a_tenant_that_is_refused_does_not_delay_a_close(emission: Emission) -> None:
    """Its reports would wait for longer than the close may take."""
    emission.report("open")
    emission.refuse(problem(403, "forbidden"))
    emission.session.close(emission.now, 5.0, release=True)
    assert emission.session.next(emission.now) is None
    assert emission.session.dropped == {"closed": 1}


def test_a_close_whose_reports_are_refused_says_so(emission: Emission) -> None:
    """The claim stays until its lease ends."""
    emission.report("open")
    emission.accept()
    emission.session.close(emission.now, 5.0, release=True)
    emission.refuse(problem(422, "invalid_event"))
    assert emission.session.next(emission.now) is None
    assert emission.session.dropped == {"refused": 1}
    assert not emission.session.delivered


def test_a_request_takes_no_longer_than_the_close(emission: Emission) -> None:
    """And at least a tenth of a second."""
    assert emission.session.remaining(emission.now, 10.0) == 10.0
    emission.session.close(emission.now, 5.0, release=True)
    emission.session.close(emission.now, 50.0, release=True)
    assert emission.session.remaining(emission.now + 2, 10.0) == 3.0
    assert emission.session.remaining(emission.now + 6, 10.0) == 0.1


def test_a_report_after_the_close_is_counted(emission: Emission) -> None:
    """Once a line."""
    emission.session.close(emission.now, 5.0, release=True)
    emission.report("open")
    emission.report("open")
    assert emission.session.next(emission.now) is None
    assert emission.session.dropped == {"closed": 2}
    assert [notice.text for notice in emission.session.notices()] == [
        "A report was dropped (closed): the emitter was closed before. `dropped` counts further ones."
    ]


def test_a_close_before_the_first_answer_ends_at_once_if_nothing_waits() -> None:
    """Nothing is to be said."""
    emission = Emission()
    emission.session.close(emission.now, 5.0, release=True)
    assert emission.session.next(emission.now) is None
    assert emission.session.delivered
