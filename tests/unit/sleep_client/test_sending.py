"""What is sent and when: the last state, repeats, stamps."""

from sleep_client.emission.events import Event
from tests.unit.sleep_client.conftest import EPOCH, PERIOD, Emission, answer, problem, said


def stamps(events: list[Event]) -> list[int | None]:
    """Return the stamp of each event, in milliseconds after the epoch of the tests."""
    return [None if event.occurred_at is None else event.occurred_at - EPOCH * 1000 for event in events]


def test_a_report_is_sent_at_once_and_once(emission: Emission) -> None:
    """Then the session waits for the repeat."""
    emission.report("open", cause="5 of 10 calls failed")
    (event,) = emission.accept()
    assert event.report.cause == "5 of 10 calls failed"
    assert event.report.key == ("acme", "payments", "pod-1")
    assert 0.9 * PERIOD <= emission.pause() <= PERIOD


def test_one_request_has_what_was_reported_while_the_last_one_was_under_way(emission: Emission) -> None:
    """There is one request at a time."""
    emission.report("open", "a")
    first = emission.post()
    emission.report("open", "b")
    emission.report("half_open", "c")
    emission.accept(first)
    assert said(emission.accept()) == [("b", "open"), ("c", "half_open")]


def test_while_the_server_is_away_the_last_state_of_a_breaker_is_kept(emission: Emission) -> None:
    """In the place of the first one; what was never sent and is out of date is counted."""
    for state in ("open", "half_open", "open"):
        emission.report(state, "a")
        emission.report("open", "b")
    assert said(emission.accept()) == [("a", "open"), ("b", "open")]
    assert emission.session.dropped == {"replaced": 2}


def test_a_state_that_came_during_a_request_is_sent_after_it(emission: Emission) -> None:
    """The acknowledgement is of the earlier state."""
    emission.report("open")
    first = emission.post()
    emission.report("closed")
    emission.accept(first)
    assert said(emission.accept()) == [("payments", "closed")]
    assert emission.session.dropped == {}


def test_the_same_state_again_is_not_sent(emission: Emission) -> None:
    """A caller may report with each call, and not only changes."""
    for state in ("open", "closed"):
        for _ in range(3):
            emission.report(state)
        assert len(emission.accept()) == 1
        emission.report(state)
        assert emission.pause() > 0


def test_a_state_that_means_sleep_is_repeated_within_the_period(emission: Emission) -> None:
    """A new event, with the time of the first: to the server it is a renewal."""
    emission.report("forced_open")
    (first,) = emission.accept()
    emission.now += PERIOD
    (second,) = emission.accept()
    assert second.id != first.id
    assert second._replace(id=first.id) == first
    emission.now += emission.pause() - 1
    assert emission.pause() == 1


def test_a_state_that_means_no_sleep_is_not_repeated(emission: Emission) -> None:
    """It has no claim to renew."""
    for state in ("closed", "disabled", "metrics_only"):
        emission.report(state, state)
    emission.accept()
    assert emission.pause() == float("inf")


def test_repeats_that_are_due_soon_share_a_request(emission: Emission) -> None:
    """Those within a tenth of the period."""
    for breaker, wait in (("a", 10.0), ("b", 100.0), ("c", 0.0)):
        emission.report("open", breaker)
        emission.accept()
        emission.now += wait
    emission.now += PERIOD - 110.0
    assert said(emission.accept()) == [("a", "open"), ("b", "open")]


def test_a_stamp_is_the_time_of_the_report_by_the_clock_of_the_server(emission: Emission) -> None:
    """However late it is sent."""
    emission.report("open", "a")
    emission.now += 7
    emission.report("open", "b")
    emission.now += 100
    assert stamps(emission.accept()) == [1_000_000, 1_007_000]


def test_a_retry_sends_the_same_event(emission: Emission) -> None:
    """By its time, one that is in the log already is a renewal there."""
    emission.report("open")
    first = emission.refuse(problem(503, "outcome_unknown"))
    emission.now += 60
    assert emission.accept() == first


def test_an_answer_without_a_date_makes_events_without_a_time() -> None:
    """Then the order of arrival counts."""
    emission = Emission()
    emission.answered(answer(202, {"accepted": 0}), emission.post())
    emission.report("open")
    assert stamps(emission.post()) == [None]


def test_a_clock_of_the_server_that_goes_back_makes_no_event_stale(emission: Emission) -> None:
    """Later stamps of a breaker are above those that were sent, also after it was closed."""
    emission.report("open")
    emission.accept()
    for state in ("closed", "open"):
        emission.now += 1
        emission.report(state)
        emission.accept(clock_behind=30)
    emission.now += 1
    emission.report("closed")
    assert stamps(emission.post()) == [1_001_002]


def test_a_stamp_far_ahead_of_the_server_does_not_count(emission: Emission) -> None:
    """The log has refused it, if it really was ahead by a minute."""
    emission.report("open")
    emission.accept()
    emission.report("half_open")
    emission.accept(clock_behind=3600)
    emission.report("closed")
    assert stamps(emission.post()) == [1_000_000 - 3_600_000]


def test_a_forgotten_breaker_keeps_later_stamps_above_its_own() -> None:
    """The oldest of the closed ones is forgotten where there is no room."""
    emission = Emission(most_keys=1)
    emission.accept()
    emission.report("closed", "a")
    emission.accept()
    emission.report("open", "b")
    assert stamps(emission.accept()) == [1_000_001]


def test_what_finds_no_room_is_counted_and_said_once() -> None:
    """States that mean sleep are never forgotten for others."""
    emission = Emission(most_keys=2)
    emission.accept()
    for breaker in ("a", "b", "c", "d"):
        emission.report("open", breaker)
    assert said(emission.accept()) == [("a", "open"), ("b", "open")]
    assert emission.session.dropped == {"full": 2}
    (line,) = [notice.text for notice in emission.notices if "(full)" in notice.text]
    assert "use fewer names. `dropped` counts further ones." in line
    emission.report("closed", "a")
    assert said(emission.accept()) == [("a", "closed")]
