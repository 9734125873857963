"""The session of a reader: its status, its attempts, and the renewal of its token, all in the time of the test."""

import logging
from typing import Final

import pytest

from sleep_client.protocol.answer import Answer
from sleep_client.protocol.notice import Notice
from sleep_client.reading.answers import Meaning, Verdict, judge
from sleep_client.reading.errors import BadStreamError, NotReady
from sleep_client.reading.session import Connect, Link, Pause, ReaderStatus, Session, WhenStale
from sleep_client.reading.tenants import Tenants
from tests.support.states_server import DEFAULT, T, event, ready, rules, snapshot, state, token

LOST: Final = Verdict(Meaning.LATER, "ReadError: reset")
REFUSED: Final = Verdict(Meaning.PERSON, "HTTP 404; check the URL")
TOKEN: Final = Verdict(Meaning.TOKEN, "HTTP 401; check the token")
RUBBISH: Final = Verdict(Meaning.CONTENT, "not understood")


class Reading:
    """A session, its time, and its one or two connections."""

    def __init__(self, when_stale: WhenStale = "hold", *, renews: bool = True) -> None:
        self.now = 1000.0
        self.tenants = Tenants(None, None)
        self.session = Session(self.tenants, "https://sleep.example", when_stale, 60.0, lambda: 0.5, renews=renews)
        self.notices: list[Notice] = []

    def connect(self, exp: float | None = None) -> Link:
        """Open the connection that the session wants now."""
        assert isinstance(self.session.next(self.now), Connect)
        link = self.session.connect(self.now)
        self.session.authorised(link, "opaque" if exp is None else token(exp))
        return link

    def ready(self, exp: float | None = None, *tenants: str) -> Link:
        """Open a connection that is ready at once."""
        link = self.connect(exp)
        self.session.take(link, snapshot(*tenants, now=self.log_now()), self.now)
        return link

    def log_now(self) -> int:
        """Return the time of the log."""
        return T + round((self.now - 1000) * 1000)

    def end(self, link: Link, verdict: Verdict = LOST) -> None:
        """End a connection."""
        self.session.ended(link, verdict, self.now)
        self.notices += self.session.notices()

    def pause(self) -> float:
        """Return for how long the session waits now."""
        step = self.session.next(self.now)
        self.notices += self.session.notices()
        assert isinstance(step, Pause), step
        return step.seconds

    def state(self, tenant: str = "acme") -> tuple[str, bool]:
        """Return a tenant's state now, and whether it is stale."""
        state = self.tenants.at(tenant, self.session.clock.at(self.now))
        return state.state, state.stale

    def status(self) -> ReaderStatus:
        """Return the status now."""
        return self.session.status


@pytest.fixture
def reading() -> Reading:
    """A session that begins."""
    return Reading()


def test_a_snapshot_makes_it_ready(reading: Reading) -> None:
    """And not a part of one. One line says so."""
    link = reading.connect()
    reading.session.take(link, rules() + state("acme"), reading.now)
    assert reading.status() is ReaderStatus.NOT_READY
    with pytest.raises(NotReady, match="no states yet"):
        reading.state()
    reading.session.take(link, ready(), reading.now)
    assert reading.status() is ReaderStatus.READY
    assert reading.state() == ("freeze", False)
    assert reading.state("other") == ("active", False)
    assert [notice.level for notice in reading.session.notices()] == [logging.INFO]
    assert reading.pause() == float("inf")


def test_a_lost_stream_is_stale_at_once_and_the_forecast_goes_on(reading: Reading) -> None:
    """The lease of the breaker ends after 900 s, by the log's time."""
    link = reading.ready(None, "acme")
    reading.now += 890
    reading.end(link)
    assert reading.status() is ReaderStatus.STALE
    assert reading.state() == ("freeze", True)
    reading.now += 9.999
    assert reading.state() == ("freeze", True)
    reading.now += 0.002
    assert reading.state() == ("active", True)


def test_it_connects_again_after_bounded_waits_from_the_last_id(reading: Reading) -> None:
    """1 s, doubled up to 16 s; half of it is random."""
    link = reading.ready()
    waits = []
    for _ in range(7):
        reading.end(link)
        waits.append(min(reading.pause(), 16.0))
        reading.now += waits[-1]
        link = reading.connect()
        assert link.intake.last_id == "7"
    assert waits == pytest.approx([0.75, 1.5, 3, 6, 12, 12, 12])
    reading.session.take(link, rules() + ready(reading.log_now(), "8"), reading.now)
    assert reading.status() is ReaderStatus.READY
    reading.end(link)
    assert reading.pause() == pytest.approx(0.75)


@pytest.mark.parametrize(("when_stale", "expected"), [("hold", ("freeze", True)), ("wake", ("active", True))])
def test_stale_for_too_long_is_an_error(when_stale: WhenStale, expected: tuple[str, bool]) -> None:
    """Then the setting decides; each answer says that it is stale."""
    reading = Reading(when_stale)
    link = reading.ready(None, "acme")
    reading.end(link)
    reading.now += 0.75
    link = reading.connect()
    assert reading.pause() == pytest.approx(59.25)
    reading.now += 59.25
    assert reading.session.next(reading.now) == Pause(float("inf"))
    assert reading.status() is ReaderStatus.ERROR
    assert reading.state() == expected
    assert reading.tenants.at("acme", T).parameters["K"] == (DEFAULT["K"] if when_stale == "wake" else 1)
    reading.session.take(link, rules() + ready(reading.log_now()), reading.now)
    assert (reading.status(), reading.state()) == (ReaderStatus.READY, ("freeze", False))
    reading.notices += reading.session.notices()
    assert [notice.level for notice in reading.notices] == [20, 30, 40, 20]
    assert ("taken for awake" in reading.notices[2].text) == (when_stale == "wake")


def test_a_refusal_at_the_start_is_an_error_at_once(reading: Reading) -> None:
    """With what to do; it is said once, and tried again about once a minute."""
    reading.end(reading.connect(), REFUSED)
    assert reading.status() is ReaderStatus.ERROR
    assert reading.pause() == 75.0
    reading.now += 75
    reading.end(reading.connect(), REFUSED)
    assert [notice.level for notice in reading.notices] == [logging.ERROR]
    assert "check the URL" in reading.notices[0].text
    with pytest.raises(NotReady, match="check the URL"):
        reading.state()


def test_a_server_that_is_away_at_the_start_is_said_once(reading: Reading) -> None:
    """The reader is not ready, and goes on trying."""
    for wait in (0.75, 1.5):
        reading.end(reading.connect())
        assert reading.status() is ReaderStatus.NOT_READY
        assert reading.pause() == wait
        reading.now += wait
    assert [notice.level for notice in reading.notices] == [logging.WARNING]
    with pytest.raises(NotReady, match="ReadError: reset"):
        reading.state()


def test_the_server_says_how_long_to_wait(reading: Reading) -> None:
    """And readers come back spread out."""
    reading.end(reading.connect(), Verdict(Meaning.LATER, "HTTP 503", 2))
    assert reading.pause() == 2.5


def test_a_token_that_has_just_ended_may_be_replaced(reading: Reading) -> None:
    """Only a second refusal is an error. At the start the first one is."""
    link = reading.ready()
    reading.end(link, TOKEN)
    assert reading.status() is ReaderStatus.STALE
    reading.now += reading.pause()
    reading.end(reading.connect(), TOKEN)
    assert reading.status() is ReaderStatus.ERROR
    other = Reading()
    other.end(other.connect(), TOKEN)
    assert other.status() is ReaderStatus.ERROR


def test_a_token_that_ended_while_the_stream_was_lost_may_be_replaced(reading: Reading) -> None:
    """The server ends the stream with the token, so a lost stream often comes first."""
    reading.end(reading.ready(), Verdict(Meaning.LATER, "the stream ended"))
    for status in (ReaderStatus.STALE, ReaderStatus.ERROR):
        reading.now += reading.pause()
        reading.end(reading.connect(), TOKEN)
        assert reading.status() is status


def test_a_session_that_has_ended_knows_nothing(reading: Reading) -> None:
    """Whatever ended it: nobody renews what was known, and it must not turn into an `active` that looks fresh."""
    reading.ready()
    assert reading.state()
    reading.session.close()
    with pytest.raises(NotReady, match="has ended"):
        reading.state()


def test_rubbish_at_the_start_is_another_server_and_later_an_accident(reading: Reading) -> None:
    """Both are tried again soon."""
    reading.end(reading.connect(), RUBBISH)
    assert reading.status() is ReaderStatus.ERROR
    assert reading.pause() == 0.75
    reading.now += 1
    link = reading.ready()
    reading.end(link, RUBBISH)
    assert reading.status() is ReaderStatus.STALE


def test_a_second_stream_takes_over_before_the_token_ends(reading: Reading) -> None:
    """Without a moment of STALE, and without a line in the log."""
    exp = T / 1000 + 400
    first = reading.ready(exp, "acme")
    reading.session.notices()
    wait = reading.pause()
    assert 340 <= wait < 400
    reading.now += wait
    second = reading.connect(exp + 400)
    assert second.intake.last_id == "7"
    assert reading.status() is ReaderStatus.READY
    gone = event("gone", {"tenant": "acme", "position": "0:50"}, "8")
    reading.session.take(first, event("time", {"now": reading.log_now()}) + gone, reading.now)
    assert reading.session.take(second, rules(), reading.now) is None
    assert reading.session.take(second, ready(reading.log_now(), "9"), reading.now) is first
    reading.end(first)
    assert (reading.status(), reading.state()) == (ReaderStatus.READY, ("active", False))
    assert reading.notices == []
    assert reading.session.last_id == "9"
    assert reading.pause() == pytest.approx(exp + 400 - T / 1000 - (reading.now - 1000) - 45, abs=1)


def test_a_second_stream_that_fails_is_tried_again(reading: Reading) -> None:
    """The first one goes on, and one line says so. A token that ends at last makes it stale."""
    exp = T / 1000 + 400
    first = reading.ready(exp)
    reading.session.notices()
    reading.now += reading.pause()
    for wait in (0.75, 1.5):
        reading.end(reading.connect(), REFUSED)
        assert reading.status() is ReaderStatus.READY
        assert reading.pause() == pytest.approx(wait)
        reading.now += wait
    assert ["new token" in notice.text for notice in reading.notices] == [True]
    reading.end(first)
    assert reading.status() is ReaderStatus.STALE


@pytest.mark.parametrize("exp", [None, T / 1000 + 0.5])
def test_a_token_without_an_end_or_near_it_is_not_renewed(reading: Reading, exp: float | None) -> None:
    """Nor is one that is no function."""
    reading.ready(exp)
    assert reading.pause() == float("inf")
    fixed = Reading(renews=False)
    fixed.ready(T / 1000 + 400)
    assert fixed.pause() == float("inf")


def test_a_reset_without_its_snapshot_begins_anew(reading: Reading) -> None:
    """The id is forgotten, and what is known stays."""
    link = reading.ready(None, "acme")
    reading.session.take(link, event("reset", {"reason": "too_old", "detail": ""}, "") + rules(1), reading.now)
    reading.end(link)
    reading.now += 1
    assert reading.connect().intake.last_id == ""
    assert reading.state() == ("freeze", True)


def test_a_stream_without_the_time_or_without_an_end_of_its_snapshot_is_dropped(reading: Reading) -> None:
    """Comments show that a proxy lives, and no more."""
    link = reading.connect()
    reading.session.take(link, rules() + b":\n\n", reading.now + 119)
    with pytest.raises(BadStreamError, match="the end of the snapshot does not come"):
        reading.session.take(link, b":\n\n", reading.now + 121)
    reading.session.take(link, ready(), reading.now)
    reading.session.take(link, b":\n\n", reading.now + 59)
    with pytest.raises(BadStreamError, match="the log's time does not come"):
        reading.session.take(link, b":\n\n", reading.now + 61)


def test_a_connection_that_is_not_needed_ends_unnoticed(reading: Reading) -> None:
    """As one that was taken over from, or that a close has ended."""
    link = reading.ready()
    reading.end(link)
    status, waits = reading.status(), reading.pause()
    reading.end(link, REFUSED)
    assert (reading.status(), reading.pause()) == (status, waits)
    reading.session.close()
    assert reading.session.next(reading.now) is None


@pytest.mark.parametrize(
    ("status", "kind", "meaning", "hint"),
    [
        (200, "text/event-stream; charset=utf-8", Meaning.ACCEPTED, ""),
        (200, "text/html", Meaning.PERSON, "check the URL, and whether"),
        (302, "text/html", Meaning.PERSON, "check the URL"),
        (401, "application/problem+json", Meaning.TOKEN, "check the token"),
        (403, "application/problem+json", Meaning.PERSON, "sleep:read-any"),
        (404, "text/plain", Meaning.PERSON, "too old"),
        (422, "application/problem+json", Meaning.PERSON, "check the URL"),
        (429, "application/problem+json", Meaning.LATER, "HTTP 429"),
        (503, "application/problem+json", Meaning.LATER, "HTTP 503"),
    ],
)
def test_what_an_answer_means(status: int, kind: str, meaning: Meaning, hint: str) -> None:
    """And what to do."""
    verdict = judge(Answer(status, {"content-type": kind, "retry-after": "3"}, b"{}"))
    assert verdict.meaning is meaning
    assert hint in verdict.finding
    assert verdict.retry_after == (3 if meaning is Meaning.LATER else None)


def test_a_proxy_that_compresses_is_named() -> None:
    """It would keep events back."""
    verdict = judge(Answer(200, {"content-type": "text/event-stream", "content-encoding": "gzip"}, b""))
    assert (verdict.meaning, "compresses" in verdict.finding) == (Meaning.PERSON, True)
