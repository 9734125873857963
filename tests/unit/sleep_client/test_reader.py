"""The reader for threads: its thread, its arguments, and what it says. The server has no sockets."""

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from docs.generator.reader_records import record_of
from sleep_client import Change, NotReady, NotWatched, ReaderStatus, SleepReader, TenantState
from sleep_client.runtime import forks, tokens
from tests.support.states_server import (
    LIMIT_SECONDS,
    StatesServer,
    T,
    after_changes,
    event,
    join_token_threads,
    ready,
    rules,
    snapshot,
    state,
    token,
)

URL = "https://sleep.example/base/"
Opener = Callable[..., SleepReader]


@pytest.fixture
def server() -> StatesServer:
    """A server that streams states."""
    return StatesServer()


@pytest.fixture
def open_reader(server: StatesServer) -> Iterator[Opener]:
    """Opens readers of the server, and closes them."""
    opened: list[SleepReader] = []

    class Reader(SleepReader):
        _transport = staticmethod(server.transport)

    def open_reader(bearer: Any = "secret-token", **arguments: Any) -> SleepReader:  # noqa: ANN401 - a reader's own
        reader = Reader(URL, bearer, **arguments)
        opened.append(reader)
        return reader

    yield open_reader
    for reader in opened:
        assert reader.close(LIMIT_SECONDS)
    join_token_threads()


def test_three_lines(server: StatesServer, open_reader: Opener) -> None:
    """Open, wait, ask."""
    reader = open_reader()
    assert reader.status is ReaderStatus.NOT_READY
    with pytest.raises(NotReady, match="no states yet"):
        reader.state("acme")
    stream = server.next()
    stream.send(snapshot("acme"))
    reader.wait_ready(LIMIT_SECONDS)
    answer = reader.state("acme")
    assert (answer.state, answer.parameters["K"], answer.stale) == ("freeze", 1, False)
    assert (answer.since, answer.cause, answer.ends_at) == (T, ("breaker", "db@a"), T + 900_000)
    assert reader.state("other").state == "active"
    left = reader.seconds_in("acme", {"freeze"})
    assert left is not None
    assert 890 < left <= 900
    assert reader.seconds_in("other", {"freeze"}) is None
    headers = stream.request.headers
    assert (str(stream.request.url), headers["authorization"]) == (
        "https://sleep.example/base/api/states/events",
        "Bearer secret-token",
    )
    assert headers["host"] == "sleep.example"
    assert stream.last_id is None


def test_a_lost_stream_is_opened_again_from_its_last_id(
    server: StatesServer, open_reader: Opener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has one line for each change of the status, and no token."""
    monkeypatch.setattr("sleep_client.protocol.waits.after_failure", lambda *_: 0.0)
    caplog.set_level(logging.INFO, "sleep_client")
    changes: SimpleQueue[Change] = SimpleQueue()
    reader = open_reader(on_change=changes.put)
    stream = server.next()
    stream.send(snapshot("acme", id_="3"))
    reader.wait_ready(LIMIT_SECONDS)
    stream.send(httpx.ReadError("reset; the header was Bearer secret-token"))
    again = server.next()
    assert again.last_id == "3"
    assert reader.status is ReaderStatus.STALE
    assert (reader.state("acme").state, reader.state("acme").stale) == ("freeze", True)
    again.send(rules() + event("gone", {"tenant": "acme", "position": "0:50"}) + ready(id_="4"))
    reader.wait_ready(LIMIT_SECONDS)
    after_changes(changes, lambda: reader.state("acme") == reader.state("other"))
    assert stream.closed.wait(LIMIT_SECONDS)
    again.send(b"event: state\ndata: rubbish\n\n")
    server.next().send(None)
    assert server.next().last_id == "4"
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO", "WARNING"]
    assert "[token]" in caplog.text
    assert "secret-token" not in caplog.text


def test_a_second_stream_takes_over_before_the_first_is_closed(server: StatesServer, open_reader: Opener) -> None:
    """With a new token. Nobody sees another status than READY."""
    given = iter([token(T / 1000 + 1.001, "first"), token(T / 1000 + 4_000, "second")])
    statuses: list[ReaderStatus] = []
    reader = open_reader(lambda: next(given), on_change=lambda change: statuses.append(change.status))
    first = server.next()
    first.send(snapshot("acme"))
    reader.wait_ready(LIMIT_SECONDS)
    second = server.next()
    assert second.request.headers["authorization"] != first.request.headers["authorization"]
    assert second.last_id == "7"
    assert not first.closed.is_set()
    second.send(rules() + state("other") + ready(T + 1_000, "8"))
    assert first.closed.wait(LIMIT_SECONDS)
    assert (reader.state("other").state, reader.status) == ("freeze", ReaderStatus.READY)
    assert set(statuses) == {ReaderStatus.READY}


def test_a_refusal_ends_the_wait_at_once(server: StatesServer, open_reader: Opener) -> None:
    """With what to do."""
    document = {"code": "forbidden", "detail": "watch with Bearer secret-token"}
    server.refuse(403, document, {"content-type": "application/problem+json"})
    reader = open_reader()
    with pytest.raises(
        NotReady, match=r"forbidden: watch with Bearer \[token\]; the token needs the scope sleep:read-any"
    ):
        reader.wait_ready(LIMIT_SECONDS)
    assert reader.status is ReaderStatus.ERROR
    with pytest.raises(NotReady, match="sleep:read-any") as error:
        reader.state("acme")
    assert "secret" not in str(error.value)


def test_a_wait_has_an_end(server: StatesServer, open_reader: Opener) -> None:
    """The text says what is missing."""
    reader = open_reader()
    server.next()
    with pytest.raises(NotReady, match=r"not ready within 0 s: no answer has come yet"):
        reader.wait_ready(0)


def test_a_function_of_the_token_that_fails(
    server: StatesServer, open_reader: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is tried again, and its text is not shown: it may be the secret."""
    monkeypatch.setattr("sleep_client.protocol.waits.after_failure", lambda *_: 0.0)
    failing = iter([RuntimeError("secret"), ValueError("secret"), None])

    def function() -> str:
        if (error := next(failing)) is not None:
            raise error
        return "right-token"

    reader = open_reader(function)
    server.next().send(snapshot())
    reader.wait_ready(LIMIT_SECONDS)


def test_a_function_of_the_token_that_hangs_does_not_hold_up_the_end(
    server: StatesServer, open_reader: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a bound, and a thread of its own."""
    monkeypatch.setattr(tokens, "TOKEN_SECONDS", 0.0)
    released = threading.Event()
    lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(lines)
    logging.getLogger("sleep_client").addHandler(handler)
    reader = open_reader(lambda: str(released.wait(LIMIT_SECONDS)))
    assert "took more than" in lines.get(timeout=LIMIT_SECONDS).getMessage()
    logging.getLogger("sleep_client").removeHandler(handler)
    assert reader.close(LIMIT_SECONDS)
    released.set()
    assert server.streams.empty()


def test_some_tenants(server: StatesServer, open_reader: Opener) -> None:
    """Only these are asked for, and only these are known."""
    reader = open_reader(tenants=["globex", "acme", "acme"])
    stream = server.next()
    assert stream.request.url.params["tenants"] == "acme,globex"
    stream.send(snapshot("acme"))
    reader.wait_ready(LIMIT_SECONDS)
    assert reader.state("globex").state == "active"
    with pytest.raises(NotWatched):
        reader.state("other")


def test_initial_is_the_answer_until_the_first_states(server: StatesServer, open_reader: Opener) -> None:
    """And says that it is stale. After a close there is no answer."""
    reader = open_reader(initial=TenantState("light", {"K": 60}))
    assert reader.state("acme") == TenantState("light", {"K": 60}, stale=True)
    server.next().send(snapshot("acme"))
    reader.wait_ready(LIMIT_SECONDS)
    assert reader.state("acme").state == "freeze"
    assert reader.close(LIMIT_SECONDS)
    with pytest.raises(NotReady, match="closed"):
        reader.state("acme")
    assert reader.status is ReaderStatus.NOT_READY
    with pytest.raises(NotReady):
        reader.wait_ready(LIMIT_SECONDS)


def test_changes_are_told_and_an_error_in_their_function_is_survived(
    server: StatesServer, open_reader: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """The stream goes on."""
    changes: SimpleQueue[Change] = SimpleQueue()

    def on_change(change: Change) -> None:
        changes.put(change)
        raise RuntimeError("secret")

    reader = open_reader(on_change=on_change)
    stream = server.next()
    stream.send(snapshot())
    reader.wait_ready(LIMIT_SECONDS)
    stream.send(state("acme"))
    told = [changes.get(timeout=LIMIT_SECONDS) for _ in range(2)]
    assert told == [Change(ReaderStatus.READY, None), Change(ReaderStatus.READY, frozenset({"acme"}))]
    assert reader.close(LIMIT_SECONDS)
    assert "on_change raised RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_defect_of_the_library_is_an_outage(
    server: StatesServer, open_reader: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reader goes on trying."""
    monkeypatch.setattr("sleep_client.protocol.waits.after_failure", lambda *_: 0.0)

    def fail() -> httpx.Response:
        raise KeyError("defect")

    server.answers.put(fail)
    reader = open_reader()
    server.next().send(snapshot())
    reader.wait_ready(LIMIT_SECONDS)
    assert "an error of this library: KeyError" in caplog.text


def test_a_reader_that_is_dropped_ends_its_thread(server: StatesServer) -> None:
    """Its thread does not keep it."""

    class Reader(SleepReader):
        _transport = staticmethod(server.transport)

    before = set(threading.enumerate())
    reader = Reader(URL, "token")
    (thread,) = set(threading.enumerate()) - before
    server.next()
    del reader
    gc.collect()
    thread.join(LIMIT_SECONDS)
    assert not thread.is_alive()


def test_a_context_manager_closes(server: StatesServer, open_reader: Opener) -> None:
    """At the end of its block."""
    with open_reader() as reader:
        stream = server.next()
        stream.send(snapshot())
        reader.wait_ready(LIMIT_SECONDS)
    assert stream.closed.wait(LIMIT_SECONDS)
    with pytest.raises(NotReady, match="closed"):
        reader.state("acme")


def test_after_a_fork_the_child_is_told(
    server: StatesServer, open_reader: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a reader of its own. Here the hook is called without a fork."""
    reader = open_reader(initial=TenantState("light", {}))
    server.next().send(snapshot("acme"))
    reader.wait_ready(LIMIT_SECONDS)
    monkeypatch.setattr(forks, "_WATCHED", {reader: forks._WATCHED[reader]})  # noqa: SLF001 - this reader alone
    forks._after_fork()  # noqa: SLF001 - as above
    with pytest.raises(NotReady, match="before a fork; open another one in this process"):
        reader.state("acme")
    assert reader.status is ReaderStatus.NOT_READY


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"bearer": "Bearer x"}, "token"),
        ({"bearer": ""}, "token"),
        ({"tenants": "acme"}, "tenants: use a list"),
        ({"tenants": []}, "tenants: use 1 to 200"),
        ({"tenants": [f"t{number}" for number in range(201)]}, "tenants: use 1 to 200"),
        ({"tenants": ["a b"]}, "tenant 'a b'"),
        ({"initial": "active"}, "initial"),
        ({"initial": TenantState("asleep", {})}, "initial"),  # type: ignore[arg-type]
        ({"max_stale_seconds": -1}, "max_stale_seconds"),
        ({"max_stale_seconds": float("nan")}, "max_stale_seconds"),
        ({"when_stale": "panic"}, "when_stale"),
    ],
)
def test_wrong_arguments_are_said_at_once(arguments: dict[str, Any], finding: str) -> None:
    """And start no thread."""
    before = threading.active_count()
    rest = {name: value for name, value in arguments.items() if name not in ("url", "bearer")}
    with pytest.raises(ValueError, match=finding):
        SleepReader(arguments.get("url", URL), arguments.get("bearer", "token"), **rest)
    assert threading.active_count() == before


def test_an_answer_is_of_one_record(server: StatesServer, open_reader: Opener) -> None:
    """While many threads ask, and the record changes: never of a mixture."""
    one, other = record_of("one breaker"), record_of("a mode without an end under an operation")
    changes: SimpleQueue[Change] = SimpleQueue()
    reader = open_reader(on_change=changes.put)
    stream = server.next()
    stream.send(rules() + state("acme", replace(one, offset=0)) + ready())
    reader.wait_ready(LIMIT_SECONDS)
    seen: set[tuple[object, ...]] = set()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answer = reader.state("acme")
            seen.add((answer.ends_at, answer.cause))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 300):
        stream.send(state("acme", replace(other if number % 2 else one, offset=number)))
    stream.send(event("gone", {"tenant": "acme", "position": "0:900"}))
    after_changes(changes, lambda: reader.state("acme").since is None)
    done.set()
    for thread in threads:
        thread.join()
    assert seen <= {(T + 900_000, ("breaker", "db@a")), (T + 40_000, ("mode", "mode")), (None, None)}
    assert len(seen) > 1
