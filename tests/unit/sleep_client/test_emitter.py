"""The emitter that callers see: it returns at once, never raises, and says at the start what is wrong."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sleep_client import Emitter, Status
from sleep_client import emitter as module
from sleep_client.runtime.courier import Courier
from tests.unit.sleep_client.conftest import LIMIT_SECONDS, FakePoster

URL = "https://sleep.example"


@pytest.fixture
def poster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePoster]:
    """What emitters of the test post to; it is closed with the thread of the emitter."""
    poster = FakePoster()
    monkeypatch.setattr(module, "HttpPoster", lambda *_: poster)
    yield poster
    assert poster.closed.wait(LIMIT_SECONDS)


def test_the_three_lines_of_the_page_report_a_breaker(poster: FakePoster) -> None:
    """After the first request, which has no events; the block releases what it holds."""
    with Emitter(URL, "token", instance="pod-1") as emitter:
        emitter.report("acme", "payments", "OPEN", cause="5 of 10 calls failed")
        emitter.report("acme", "shared", "open", instance="")
        events = [event for _ in range(2) for event in poster.next()]
        if len(events) < 2:
            events += poster.next()
    assert [event["data"]["instance"] for event in events] == ["pod-1", ""]
    assert events[0]["data"]["cause"] == "5 of 10 calls failed"
    assert {event["data"]["state"] for event in poster.next()} == {"closed"}
    assert emitter.status is Status.CLOSED
    assert emitter.dropped == {}


def test_processes_have_names_of_their_own(poster: FakePoster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's name may be any text."""
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 300)
    with Emitter(URL, "token") as emitter:
        emitter.report("acme", "payments", "open")
        poster.next()
        (event,) = poster.next()
    assert event["data"]["instance"] == "h" * 200


@pytest.mark.parametrize(
    "arguments",
    [("", "payments", "open"), ("acme", "a@b", "open"), ("acme", "payments", "ajar"), (None, object(), 3)],
)
def test_a_wrong_report_is_counted_and_raises_nothing(poster: FakePoster, arguments: tuple[Any, ...]) -> None:
    """The caller is in the middle of a failing call."""
    with Emitter(URL, "token") as emitter:
        emitter.report(*arguments)
        assert poster.next() == []
    assert emitter.dropped == {"invalid": 1}


def test_a_defect_is_counted_and_raises_nothing(poster: FakePoster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a thread that cannot be started."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with Emitter(URL, "token") as emitter:
        with monkeypatch.context() as patch:
            patch.setattr(Courier, "report", fail)
            emitter.report("acme", "payments", "open")
        assert emitter.dropped == {"failed": 1}
        assert poster.next() == []


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("url", lambda: Emitter("sleep.example", "token")),
        ("token", lambda: Emitter(URL, "")),
        ("repeat_seconds", lambda: Emitter(URL, "token", repeat_seconds=0.5)),
        ("repeat_seconds", lambda: Emitter(URL, "token", repeat_seconds=float("nan"))),
        ("instance", lambda: Emitter(URL, "token", instance="x" * 201)),
    ],
)
def test_a_wrong_argument_is_refused_at_the_start(name: str, make: Callable[[], Emitter]) -> None:
    """By its name."""
    with pytest.raises(ValueError, match=f"^{name}"):
        make()


def test_a_function_returns_the_token_for_each_request(poster: FakePoster) -> None:
    """A token ends; the function has the next one."""
    tokens = iter(["first", "second", "third"])
    with Emitter(URL, lambda: next(tokens)) as emitter:
        emitter.report("acme", "payments", "open")
        for expected in ("first", "second"):
            assert poster.posted.get(timeout=LIMIT_SECONDS)[1] == expected


def test_a_second_close_changes_nothing(poster: FakePoster) -> None:
    """And says the same."""
    emitter = Emitter(URL, "token")
    assert poster.next() == []
    assert emitter.close()
    assert emitter.close(release=False, timeout_seconds=0.0)
    emitter.report("acme", "payments", "open")
    assert emitter.dropped == {"closed": 1}


def test_an_emitter_that_nobody_holds_ends_its_thread(poster: FakePoster) -> None:
    """Otherwise it would repeat claims of breakers that are gone."""
    emitter = Emitter(URL, "token")
    assert poster.next() == []
    del emitter
    gc.collect()
    assert poster.closed.wait(LIMIT_SECONDS)


def test_the_child_of_a_fork_begins_anew(poster: FakePoster) -> None:
    """The parent's reports stay with the parent, and a closed emitter stays closed."""
    emitter = Emitter(URL, "token")
    assert poster.next() == []
    of_parent = emitter._courier  # noqa: SLF001 - a fork of this process would leave its thread there
    emitter._after_fork()  # noqa: SLF001 - as above
    begun = emitter.status
    emitter.report("acme", "payments", "open")
    assert [len(poster.next()) for _ in range(2)] == [0, 1]
    assert emitter.close()
    emitter._after_fork()  # noqa: SLF001 - as above
    emitter.report("acme", "payments", "open")
    assert emitter.dropped == {"closed": 1}
    assert (begun, emitter.status) == (Status.STARTING, Status.CLOSED)
    of_parent.begin_close(5.0, release=True)
    assert of_parent.join(LIMIT_SECONDS)
